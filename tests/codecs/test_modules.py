from __future__ import annotations

import sys
import types

import pytest

from scalable_cas.modules import canonical_module, loaded_module, main_module, resolve_module


@pytest.fixture
def main(monkeypatch):
    """Put a module of these attributes in the place of the running script."""

    def put(name="__main__", *, spec=None, file=None):
        module = types.ModuleType(name)
        module.__spec__ = None if spec is None else types.SimpleNamespace(name=spec)
        if file is not None:
            module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return put


@pytest.fixture
def package(tmp_path):
    """pkg/sub/mod.py, with both packages' `__init__.py`, in a folder that is no package."""
    folder = tmp_path / "pkg" / "sub"
    folder.mkdir(parents=True)
    for path in (
        folder.parent / "__init__.py",
        folder / "__init__.py",
        folder / "mod.py",
        folder / "__main__.py",
    ):
        path.touch()
    return folder


def test_other_modules_keep_their_name():
    assert canonical_module("json.decoder") == "json.decoder"
    assert canonical_module("json.decoder", __file__) == "json.decoder"


def test_python_m_decides(main):
    main(spec="pkg.mod", file="/elsewhere/x.py")
    assert canonical_module("__main__") == "pkg.mod"
    main(spec="pkg.__main__", file="/elsewhere/x.py")
    assert canonical_module("__main__") == "pkg.__main__"


@pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
def test_a_script_is_called_by_its_file_and_packages(main, package, name):
    for file, canonical in {
        package / "mod.py": "pkg.sub.mod",
        package / "__main__.py": "pkg.sub.__main__",
        package / "__init__.py": "pkg.sub",
        package.parent.parent / "plain.py": "plain",
        package.parent.parent / "with.dots.py": "with.dots",
        package.parent.parent / "no_suffix": "no_suffix",
    }.items():
        main(name, file=file)
        assert canonical_module(name) == canonical


def test_a_folder_that_is_run_has_a_spec_without_a_name(main, package):
    main(spec="__main__", file=package / "__main__.py")
    assert canonical_module("__main__") == "pkg.sub.__main__"


def test_without_a_file_it_stays_main(main):
    main()
    for filename in (None, "<stdin>", "<string>", "<ipython-input-1-abc>", "/tmp/ipykernel_1/2.py"):
        assert canonical_module("__main__", filename) == "__main__"


def test_the_file_of_the_code_decides_where_main_is_another(main, package):
    main(spec="cProfile", file="/usr/lib/cProfile.py")
    assert canonical_module("__main__", str(package / "mod.py")) == "pkg.sub.mod"
    main(file=package / "mod.py")
    assert canonical_module("__main__", str(package / "mod.py")) == "pkg.sub.mod"
    main(spec="from.spec", file=package / "mod.py")
    assert canonical_module("__main__", str(package / "mod.py")) == "from.spec"
    assert canonical_module("__main__", str(package / ".." / "sub" / "mod.py")) == "from.spec"


def test_a_name_does_not_move_with_the_working_directory(main, package, monkeypatch):
    monkeypatch.chdir(package)
    main(file="mod.py")
    assert canonical_module("__main__") == "pkg.sub.mod"
    monkeypatch.chdir("/")
    assert canonical_module("__main__") == "pkg.sub.mod"


def test_the_running_script_comes_first(main, package, monkeypatch):
    module = main(file=package / "mod.py")
    copy = types.ModuleType("pkg.sub.mod")
    monkeypatch.setitem(sys.modules, "pkg.sub.mod", copy)
    assert main_module("pkg.sub.mod") is module
    assert loaded_module("pkg.sub.mod") is module
    assert resolve_module("pkg.sub.mod") is module
    assert main_module("other") is None


def test_others_are_found_or_imported(tmp_path, monkeypatch):
    (tmp_path / "imported_by_a_test.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert loaded_module("imported_by_a_test") is None
    assert "imported_by_a_test" not in sys.modules
    assert resolve_module("imported_by_a_test").x == 1
    assert loaded_module("imported_by_a_test").x == 1
    with pytest.raises(ImportError):
        resolve_module("there_is_no_such_module")
