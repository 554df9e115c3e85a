"""Models are loaded once, whoever asks at the same time, and go when they may."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.model_cache import ModelCache


class Model:
    pass


def test_a_model_is_loaded_once_and_lent_to_all() -> None:
    cache = ModelCache()
    both = threading.Barrier(4, timeout=10)

    def use(_: int) -> int:
        both.wait()
        with cache.lease("a", Model) as model:
            return id(model)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(use, range(4)))) == 1
    assert cache.loads == {"a": 1}
    assert cache.loaded == ["a"]


def test_without_keeping_the_last_user_drops_it() -> None:
    cache = ModelCache(keep=False)
    with cache.lease("a", Model) as outer:
        with cache.lease("a", Model) as inner:
            assert inner is outer
        gone = weakref.ref(outer)
        del outer, inner
        assert gone() is not None
    assert gone() is None
    with cache.lease("a", Model):
        pass
    assert cache.loads == {"a": 2}


def test_a_model_in_use_is_not_unloaded() -> None:
    cache = ModelCache()
    with cache.lease("a", Model):
        assert not cache.unload("a")
        assert cache.loaded == ["a"]
    assert cache.unload("a")
    assert not cache.unload("a")
    assert not cache.unload("never heard of")
    assert cache.loaded == []


def test_a_load_that_fails_is_the_caller_s_and_the_next_tries_again() -> None:
    cache = ModelCache()
    with pytest.raises(ZeroDivisionError), cache.lease("a", lambda: 1 // 0):
        pass
    with cache.lease("a", Model) as model:
        assert isinstance(model, Model)
    assert cache.loads == {"a": 1}


def test_after_clear_what_is_in_use_goes_with_its_last_user() -> None:
    cache = ModelCache()
    with cache.lease("a", Model) as model:
        gone = weakref.ref(model)
        del model
        cache.clear()
        assert gone() is not None
    assert gone() is None
