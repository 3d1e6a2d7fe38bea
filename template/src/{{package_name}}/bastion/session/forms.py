"""Every field of a form, and of a list's address, is declared: its type, its length, its allowed values.

What is not declared is not read; what does not fit is shown again with a message beside the field and changes nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from wtforms import EmailField, Field, Form, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, StopValidation, ValidationError

from ..database.queries import LARGEST_NUMBER
from ..errors import refuse
from ..identity.passwords import LONGEST
from ..identity.users import LONGEST_IDENTIFIER
from ..plain_text import is_plain
from . import csrf

MOST_DIGITS: Final = 10  # of LARGEST_NUMBER; looked at before the pattern
_NUMBER: Final = re.compile(r"\A[0-9]+\Z")


class PlainText:
    """Refuses control characters and those that reorder what is read; `lines=True` allows line breaks and tabs."""

    def __init__(self, *, lines: bool = False) -> None:
        self._lines = lines

    def __call__(self, _form: Any, field: Field) -> None:
        if not is_plain(field.data or "", lines=self._lines):
            raise StopValidation("This text holds characters that can't be shown safely.")


class SubmittedForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no types
    """Base of every form that is posted: it carries the CSRF token and checks it by itself as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        csrf.begin()
        super().__init__(*args, **kwargs)


class LoginForm(SubmittedForm):
    """Address and password. Only lengths are checked: any other message would tell which accounts can exist."""

    identifier = EmailField("Email address", [InputRequired(), Length(max=LONGEST_IDENTIFIER)])
    password = PasswordField("Password", [InputRequired(), Length(max=4 * LONGEST)])


class NumberField(StringField):
    """A whole number in plain digits, 1 to 2**31-1; `+1`, ` 1 ` and `1_0` are no numbers here."""

    def process_formdata(self, valuelist: list[str]) -> None:
        super().process_formdata(valuelist)
        text = self.data or ""
        if len(text) > MOST_DIGITS or not _NUMBER.match(text) or not 1 <= int(text) <= LARGEST_NUMBER:
            raise ValidationError("Use a whole number from 1 on.")

    @property
    def number(self) -> int:
        """The number, after the form was validated."""
        return int(self.data or "1")


class ListQuery(Form):
    """What a list's address may carry: `page`, `q` to search for, and `sort`, one of the names in `sorts`."""

    sorts: tuple[str, ...] = ("newest",)
    page = NumberField()
    q = StringField(validators=[Length(max=100), PlainText()])
    sort = SelectField()

    @classmethod
    def read(cls) -> Any:
        """The checked query of this request; 422 when something in it is not valid."""
        values = MultiDict([("page", "1"), ("q", ""), ("sort", cls.sorts[0])])
        for name in ("page", "q", "sort"):
            if given := request.args.getlist(name):
                values.setlist(name, given)
        query = cls(values)
        query.sort.choices = [(name, name) for name in cls.sorts]
        if any(len(given) != 1 for _name, given in values.lists()) or not query.validate():
            refuse(422, "input-validated-typed")
        return query


__all__ = [
    "InputRequired",
    "Length",
    "ListQuery",
    "LoginForm",
    "NumberField",
    "PlainText",
    "StringField",
    "SubmittedForm",
    "TextAreaField",
]
