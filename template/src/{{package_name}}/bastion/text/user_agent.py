"""Device names: a browser and a system in a few fixed words, so that a user recognises a session in a page or a mail.

The User-Agent header is the client's own claim and holds any text, such as an advertisement or a link; only words of
these tables are shown.
"""

from __future__ import annotations

from typing import Final

# The first mark that occurs decides: browsers also name those that they descend from.
BROWSERS: Final = (
    *(("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox/", "Firefox")),
    *(("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl")),
)
SYSTEMS: Final = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS")),
    *(("Windows", "Windows"), ("Mac OS X", "macOS"), ("Linux", "Linux")),
)


def device_name(agent: str) -> str:
    """Return `Firefox on Windows` for a User-Agent header, or an empty text for an unknown program."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return f"{browser or 'Browser'} on {system}" if system else browser
