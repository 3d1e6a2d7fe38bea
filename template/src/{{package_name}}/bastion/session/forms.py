"""Input validation: every field of a form, and of a list's query, declares its type, length and allowed values.

This stops mass assignment and invalid input: an undeclared field is not read; an invalid one changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flask import abort, make_response, request
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from werkzeug.datastructures import MultiDict
from wtforms import (
    BooleanField,
    DateField,
    EmailField,
    Field,
    Form,
    PasswordField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import EqualTo, InputRequired, Length, Optional, StopValidation, ValidationError

from .. import files
from ..audit.refusal import Refused, refuse
from ..identity import users
from ..identity.passwords import LONGEST_TYPED, Busy
from ..identity.users import LONGEST_IDENTIFIER
from ..request import inputs
from ..request.queries import LARGEST_NUMBER, LARGEST_PAGE_SIZE, PAGE_SIZE
from ..text import is_plain
from . import csrf

MOST_DIGITS: Final = 10  # of LARGEST_NUMBER; looked at before the pattern
T = TypeVar("T")
_NUMBER: Final = re.compile(r"\A[0-9]+\Z")


class PlainText:
    """Refuse control and bidirectional characters; `lines=True` allows line breaks and tabs."""

    def __init__(self, *, lines: bool = False) -> None:
        self._lines = lines

    def __call__(self, _form: Any, field: Field) -> None:
        if not is_plain(field.data or "", lines=self._lines):
            raise StopValidation("This text holds characters that can't be shown safely.")


class SubmittedForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Base of every form that is posted: it carries the CSRF token and checks it by itself as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        csrf.begin()
        if request.is_json and inputs.has_body():  # Flask-WTF would read its fields out of that
            refuse(415, inputs.TYPE)
        super().__init__(*args, **kwargs)


WRONG: Final = (401, 403)  # what identity/attempts.py answers who is not signed in, and who is
MESSAGES: Final = {
    **dict.fromkeys(WRONG, "The password is not right."),
    429: "Too many attempts. Wait a while, then try again.",
    503: "The service is busy just now. Try again in a moment.",
}


def perform(
    form: SubmittedForm,
    page: Callable[[], str],
    action: Callable[[], T],
    *,
    wrong: str = MESSAGES[401],
    field: str = "",
) -> T:
    """Return the result of `action`. If the form or the action refuses, answer with the page and the reasons on it.

    422 for invalid input, 409 for a conflict, and the action's own 401, 403, 429 or 503. `wrong` replaces the message
    for a wrong password, and stands at the named `field`. Other refusals pass through.
    """
    status, headers = 422, list[tuple[str, str]]()
    if form.validate():
        try:
            return action()
        except users.UserError as error:
            if error.field in form:
                form[error.field].errors = [str(error)]
            else:
                form.form_errors = [str(error)]
            status = 422 if error.field else 409
        except Busy:
            status, form.form_errors = 503, [MESSAGES[503]]
        except Refused as refused:
            if refused.code not in MESSAGES:
                raise
            status, headers = refused.code, refused.get_headers()
            if field and status in WRONG:
                form[field].errors = [wrong]
            else:
                form.form_errors = [wrong if status in WRONG else MESSAGES[status]]
    answer = make_response(page(), status)
    answer.headers.extend(headers)
    return abort(answer)


class LoginForm(SubmittedForm):
    """Address and password. Only lengths are checked: any other message would tell which accounts can exist."""

    identifier = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])
    password = PasswordField("Password", [InputRequired(), Length(max=LONGEST_TYPED)])


class AddressForm(SubmittedForm):
    """An address to mail to. Every answer is the same whether or not it has an account."""

    email = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])


class NewPasswordForm(SubmittedForm):
    """A new password, typed twice: hidden text is easily mistyped."""

    password = PasswordField("New password", [InputRequired(), Length(max=LONGEST_TYPED)])
    again = PasswordField(
        "New password again",
        [InputRequired(), Length(max=LONGEST_TYPED), EqualTo("password", "The two passwords are not the same.")],
    )


class NumberField(StringField):
    """A whole number in plain digits, 1 to 2**31-1; `+1`, ` 1 ` and `1_0` are refused."""

    def process_formdata(self, valuelist: list[str]) -> None:
        super().process_formdata(valuelist)
        text = self.data or ""
        if len(text) > MOST_DIGITS or not _NUMBER.match(text) or not 1 <= int(text) <= LARGEST_NUMBER:
            raise ValidationError("Use a whole number from 1 on.")

    @property
    def number(self) -> int:
        """Return the number, after the form was validated."""
        return int(self.data or "1")


class UploadField(FileField):  # type: ignore[misc]  # Flask-WTF has no types
    """A file of one of the `allowed` types. The form has enctype="multipart/form-data", and its view @takes_files."""

    def __init__(self, label: str, validators: Any = (), *, allowed: files.Types, **more: Any) -> None:
        super().__init__(label, validators, **more)
        self.allowed = allowed

    def pre_validate(self, _form: Any) -> None:
        """Report a file that is too large or of another type on the form's page."""
        if self.data and (fault := files.fault(self.data, self.allowed)):
            raise StopValidation(fault)

    def keep(self) -> files.StoredFile:
        """Store the file, after the form was validated; 409 beyond the user's quota."""
        return files.keep(self.data, allowed=self.allowed)


class ListQuery(Form):
    """The query of a list: `page`, `size` (1 to 100 items), the search text `q`, and `sort`, one of `sorts`.

    A subclass adds its filters as fields. A filter that is not given or blank has its default.
    """

    sorts: tuple[str, ...] = ("newest",)
    page = NumberField()
    size = NumberField()
    q = StringField(validators=[Length(max=100), PlainText()])
    sort = SelectField()

    @classmethod
    def read(cls) -> Any:
        """Return the validated query of this request; 422 when a value is invalid."""
        query = cls()
        values = MultiDict([("page", "1"), ("size", str(PAGE_SIZE)), ("q", ""), ("sort", cls.sorts[0])])
        for name in (field.name for field in query if field.name in request.args):
            given = request.args.getlist(name)
            if name in values or given != [""]:
                values.setlist(name, given)
        query.sort.choices = dict(zip(cls.sorts, cls.sorts, strict=True))
        query.process(values)
        if any(len(given) != 1 for _name, given in values.lists()) or not query.validate():
            refuse(422, "input-validated-typed")
        if query.size.number > LARGEST_PAGE_SIZE:
            refuse(422, "input-validated-typed")
        return query

    @property
    def kept(self) -> dict[str, str]:
        """Return this request's declared parameters except the page, for links: `pager(page, "...", **query.kept)`."""
        return {name: text for name, text in request.args.items() if name in self and name != "page" and text}


__all__ = [
    "BooleanField",
    "DateField",
    "FileRequired",
    "InputRequired",
    "Length",
    "ListQuery",
    "LoginForm",
    "NumberField",
    "Optional",
    "PlainText",
    "SelectField",
    "StringField",
    "SubmittedForm",
    "TextAreaField",
    "UploadField",
]
