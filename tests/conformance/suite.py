"""Runs a test-suite of others on a server and tells what passed: suite.py SUITE FOLDER URL[,URL…] PASSWORD

What cannot pass here stands in `left_out.tsv` with its reason: it is run all the same, and is an error once it passes.
"""

import importlib.util
import os
import pathlib
import shutil
import sys
import tempfile
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).parent


class Outcomes:
    """What became of each test, and what was said of those that failed."""

    def __init__(self):
        self.passed, self.skipped, self.failed = set(), set(), {}

    def note(self, name, passed=False, skipped=False, text=""):
        if not passed and not skipped:
            self.failed.setdefault(name, text)
        elif name not in self.failed:
            (self.skipped if skipped else self.passed).add(name)

    def ends(self, suite):
        """Prints the sum; the exit code."""
        lines = [line.split("\t") for line in (HERE / "left_out.tsv").read_text().splitlines()]
        left_out = {line[1]: line[2] for line in lines if line[0] == suite}
        passed = self.passed - self.failed.keys()
        wrong = [name for name in sorted(self.failed) if name not in left_out]
        for name in wrong:
            print(f"FAILED {name}\n{self.failed[name]}\n")
        for name in sorted(self.failed.keys() & left_out.keys()):
            print(f"left out: {name}: {left_out[name]}")
        stale = sorted(name for name in left_out if name not in self.failed)
        for name in stale:
            print(f"passes now, or is not there: {name}: take it from left_out.tsv")
        print(
            f"{suite}: {len(passed)} passed, {len(wrong)} failed, {len(self.failed) - len(wrong)} left out, "
            f"{len(self.skipped)} skipped by themselves",
            flush=True,
        )
        return 1 if wrong or stale or not passed else 0


class UnderPytest(Outcomes):
    """As a plugin of pytest."""

    def pytest_runtest_logreport(self, report):
        name = report.nodeid.rsplit("/", 1)[-1]
        if report.when == "call" or not report.passed:
            self.note(name, report.passed, report.skipped, report.longreprtext[-3000:])


class UnderUnittest(unittest.TestResult):
    """The same for unittest, subtests and what goes wrong around a class included."""

    def __init__(self):
        super().__init__()
        self.outcomes = Outcomes()

    def addSuccess(self, test):
        self.outcomes.note(named(test), passed=True)

    def addSkip(self, test, reason):
        self.outcomes.note(named(test), skipped=True)

    def addFailure(self, test, err):
        self.outcomes.note(named(test), text=self._exc_info_to_string(err, test)[-3000:])

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(test, err)


def named(test):
    """`Class.test`; of what is no test (a class's setup) what unittest calls it."""
    return test.id().split(".", 1)[-1] if isinstance(test, unittest.TestCase) else str(test)


def mango(folder, url, password):
    os.environ.update(COUCH_HOST=url, COUCH_USER="admin", COUCH_PASS=password)
    tests = pathlib.Path(folder) / "src" / "mango" / "test"
    sys.path.insert(0, str(tests))
    suite = unittest.TestSuite()
    for file in sorted(tests.glob("[0-9]*.py")):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        suite.addTests(unittest.defaultTestLoader.loadTestsFromModule(module))
    result = UnderUnittest()
    suite.run(result)
    return result.outcomes


def under_pytest(folder, *options):
    import pytest

    outcomes = UnderPytest()
    # Not a conftest.py further up: it may ask for plugins that only draw reports.
    options = ["-p", "no:cacheprovider", "-W", "ignore", f"--rootdir={folder}", f"--confcutdir={folder}", *options]
    pytest.main(["-q", "--no-header", "--no-summary", "--tb=short", *options, str(folder)], plugins=[outcomes])
    return outcomes


def aiocouch(folder, url, password):
    os.environ.update(COUCHDB_HOST=url, COUCHDB_USER="admin", COUCHDB_PASS=password)
    return under_pytest(pathlib.Path(folder) / "tests", "-c", os.devnull, "-o", "asyncio_mode=auto")


def pycouchdb(folder, url, password):
    """Its tests name their server in the source."""
    with tempfile.TemporaryDirectory() as copy:
        tests = pathlib.Path(copy) / "integration"
        shutil.copytree(pathlib.Path(folder) / "test" / "integration", tests)
        for file in tests.glob("*.py"):
            server = f"admin:{password}@{urllib.parse.urlsplit(url).netloc}"
            text = file.read_text().replace("admin:password@localhost:5984", server)
            # They begin by deleting every database there is, and that of replications cannot be deleted here.
            kept = "for db in (name for name in server if name != '_replicator'):"
            file.write_text(text.replace("for db in server:", kept))
        return under_pytest(tests, "-c", os.devnull)


def main():
    suite, folder, urls, password = sys.argv[1:]
    run = {"mango": mango, "aiocouch": aiocouch, "pycouchdb": pycouchdb}[suite]
    code = run(folder, urls.split(",")[0], password).ends(suite)
    sys.stdout.flush()
    os._exit(code)


main()
