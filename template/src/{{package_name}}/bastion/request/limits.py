"""Rate limit of a route that the team declares: per user, and per network for clients that are not signed in.

It stops one client from using up an expensive view. The count is in the database, so all workers share it. Source: ASVS
2.4.1, 6.3.1.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

from ..throttle import Allowance, spend, spend_for_network
from .authentication import current_user

V = TypeVar("V", bound=Callable[..., Any])
MAX_COUNT: Final = 1000  # each use is 18 bytes of one row, which is kept for a day at least
ROW: Final = "route-limit-declared"


def limited(name: str, count: int, *, per: timedelta = timedelta(minutes=1)) -> Callable[[V], V]:
    """Let each user, or network without a session, call the view `count` times within any period `per`; then 429.

    Views with one `name` share the limit. Only requests that the access rule lets through are counted. Raises
    ValueError above 1000 times or a day.
    """
    if not 1 <= count <= MAX_COUNT or per > timedelta(days=1):
        raise ValueError(f"limited() takes 1 to {MAX_COUNT} times in at most a day")
    kind, allowance = f"route-{name}", Allowance(count, per)

    def limit(view: V) -> V:
        @functools.wraps(view)
        def counted(*args: Any, **values: Any) -> Any:
            if current_user.is_authenticated:
                spend(kind, current_user.id.hex, ROW, allowance)
            else:
                spend_for_network(kind, ROW, allowance)
            return view(*args, **values)

        return cast("V", counted)

    return limit
