"""Does not need a host, so it can be tested alone."""


def greeting(name: str) -> str:
    return f"Hello, {name}!"
