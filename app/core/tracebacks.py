"""Errors that do not keep alive what their frames worked on."""

from __future__ import annotations

from traceback import clear_frames


def forget_locals(error: BaseException) -> None:
    """Empty the frames that an error and those before it hold on to.

    A failed request's recording would otherwise live as long as its traceback: while the error is answered, and where
    tasks hold it in a reference cycle, until the next garbage collection. The traceback can still be logged.
    """
    seen: set[int] = set()  # a chain may lead back to itself
    chain: BaseException | None = error
    while chain is not None and id(chain) not in seen:
        seen.add(id(chain))
        clear_frames(chain.__traceback__)
        chain = chain.__cause__ or chain.__context__
