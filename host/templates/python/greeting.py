"""What needs no host, and so can be tested by itself."""


def greeting(name: str) -> str:
    return f"Hello, {name}!"
