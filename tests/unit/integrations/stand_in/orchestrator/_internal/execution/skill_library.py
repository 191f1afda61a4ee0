"""Code kept under a name."""

_skills: dict[str, str] = {}


def save_skill(name: str, code: str) -> None:
    _skills[name] = code


def get_skill(name: str) -> str:
    return _skills[name]
