"""One target: what is built for it, and how its programs are run."""

import os
import pathlib
import re
import shutil
import subprocess

from results import NOT_DONE

ROOT = pathlib.Path(__file__).resolve().parents[2]
WARNINGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-Wno-unused-function")
FEATURES = "oxislirp/policy,oxislirp/capture,oxislirp/control"
# A test that hangs ends a part, not the machine. Unit tests under an emulator take seven minutes of two processors, and as many times more as
# others want them.
PATIENCE = 3 * 3600


class Platform:
    """One target and the folders of its run."""

    def __init__(self, target, results, work):
        self.target = target
        self.results = results
        self.folder = work / target.name
        self.folder.mkdir()
        # One for all targets, which share what is built for this machine.
        self.cargo_folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "platforms"
        # Where this target's programs and libraries are put by cargo.
        self.built = self.cargo_folder / target.name
        self.environment = dict(os.environ, RUSTC_BOOTSTRAP="1", PATH=f"/usr/bin:{os.environ['PATH']}", CARGO_TARGET_DIR=str(self.cargo_folder))
        # What needs a namespace of its own is no test that passes where there is none.
        self.environment["SLIRP_TEST_REQUIRE_NAMESPACES"] = "1"
        # Nobody looks at it, and it is most of what is written.
        for profile in ("DEV", "TEST"):
            self.environment.setdefault(f"CARGO_PROFILE_{profile}_DEBUG", "0")
        self.environment.update(target.environment)
        variable = f"CARGO_TARGET_{target.name.upper().replace('-', '_')}"
        if target.compiler:
            self.environment[f"{variable}_LINKER"] = target.compiler[0]
            arguments = [f"-C link-arg={one}" for one in target.compiler[1:]]
            flags = [*target.rustflags, *arguments, *(f"-L native={one}" for one in self.library_folders())]
            self.environment[f"{variable}_RUSTFLAGS"] = " ".join(flags)
        if target.runner:
            self.environment[f"{variable}_RUNNER"] = " ".join(target.runner)

    def library_folders(self):
        """Folders of libraries that the linker lacks."""
        if "musl" not in self.target.name:
            return []
        # gcc's shared unwinder is one for glibc. Its static part asks the C library for one function that glibc alone has.
        folder = self.cargo_folder / "libraries"
        made = folder / "libgcc_s.a"
        if not made.exists():
            folder.mkdir(parents=True, exist_ok=True)
            found = subprocess.run(["gcc", "-print-file-name=libgcc_eh.a"], check=True, capture_output=True, text=True).stdout.strip()
            part = folder / "find_object.o"
            subprocess.run([*self.target.compiler, "-O2", "-fPIC", "-c", "-o", str(part), str(ROOT / "compat-tests/platforms/find_object.c")], check=True)
            shutil.copy(found, folder / "unwinder.a")
            subprocess.run(["ar", "r", str(folder / "unwinder.a"), str(part)], check=True)
            (folder / "unwinder.a").rename(made)
        return [folder]

    def unwinder(self):
        """What a linker that has none of its own is told of what unwinds the stack, and of the list of frames that this wants."""
        folders = self.library_folders()
        return [*(f"-L{one}" for one in folders), "-lgcc_s", "-Wl,--eh-frame-hdr"] if folders else []

    def cargo(self, command, *arguments, more=()):
        """Runs cargo for the target, std included; the status and what it printed."""
        std = ["-Zbuild-std=std,panic_unwind,test"] if self.target.builds_std else []
        return self.run(["cargo", command, *std, "--target", self.target.name, *arguments], cwd=ROOT, more=more)

    def run(self, command, cwd=None, more=(), patience=PATIENCE):
        """The status of a command, and what it printed."""
        environment = dict(self.environment, **dict(more))
        try:
            done = subprocess.run(
                command, cwd=cwd or self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", timeout=patience)
        except subprocess.TimeoutExpired as error:
            return NOT_DONE, f"{error.output or ''}\nerror: not done after {patience} s"
        except FileNotFoundError as error:
            return 127, f"error: {error}"
        return done.returncode, done.stdout

    def clippy(self):
        """No warning in the library and the engine."""
        # A `const` initializer is not seen as one where the system has no thread-locals of its own (Haiku).
        allowed = ("-A", "clippy::missing_const_for_thread_local")
        status, log = self.cargo("clippy", "-p", "oxislirp-capi", "-p", "oxislirp", "--lib", "--", "-D", "warnings", *allowed)
        self.results.verdict(self.target, "clippy", status, log, "no warning")

    def tests(self, part, without, *arguments):
        """Tests, as cargo runs them, and how many there were; what was printed."""
        left_out = [word for name in without for word in ("--skip", name)]
        status, log = self.cargo("test", "--no-fail-fast", *arguments, "--", *left_out)
        counts = re.findall(r"^test result: .* (\d+) passed; (\d+) failed", log, re.M)
        passed, failed = (sum(int(count[i]) for count in counts) for i in (0, 1))
        programs = re.findall(r"^ *Running .+\)$", log, re.M)
        # Wine ends some programs that fall with a status of 0.
        if status == 0 and (passed == 0 or len(counts) != len(programs)):
            status, log = 1, log + f"\nerror: {len(programs)} programs were run, and {len(counts)} came to their end, with {passed} tests"
        self.results.verdict(self.target, part, status, log, f"{passed} tests", failed=failed, left_out=without)
        return log

    def unit(self):
        """Unit tests of the engine and of the library."""
        self.tests("unit", self.target.unit_without, "-p", "oxislirp", "-p", "oxislirp-capi", "--features", FEATURES, "--lib")

    def in_process(self):
        """Tests through the C interface."""
        if self.target.in_process:
            names = [word for name in self.target.in_process for word in ("--test", f"inproc_{name}")]
            self.tests("in-process", self.target.in_process_without, "-p", "oxislirp-capi", *names)

    def layout(self):
        """The compiler checks the headers; a program that is made of it has nothing to do."""
        source = ROOT / "compat-tests/c/layout.c"
        status, log = 0, ""
        for standard in ("c99", "c11"):
            one, text = self.run([*self.target.compiler, *WARNINGS, f"-std={standard}", "-pedantic", "-fsyntax-only", f"-I{ROOT}/include", str(source)])
            status, log = status or one, log + text
        self.results.verdict(self.target, "layout", status, log, "all")

    def library(self):
        """The library as the tests have it, under the name that programs ask for. None if it cannot be built."""
        shared = self.folder / "libslirp.so.0"
        if not shared.exists():
            status, log = self.cargo("build", "-p", "slirp-under-test")
            if status != 0:
                self.results.verdict(self.target, "library", status, log, "")
                return None
            shutil.copy(self.built / "debug/libslirp_under_test.so", shared)
            shutil.copy(self.built / "debug/libslirp_under_test.a", self.folder / "libslirp.a")
        return shared

    def compile(self, name, *libraries):
        """Compiles a program of compat-tests/c: status and messages."""
        source = ROOT / f"compat-tests/c/{name}.c"
        rpath = f"-Wl,-rpath,{self.folder}"
        return self.run([*self.target.compiler, *WARNINGS, f"-I{ROOT}/include", "-o", name, str(source), *libraries, rpath])

    def program(self, name, *arguments):
        """Compiles and runs a program of compat-tests/c."""
        status, log = self.compile(name, str(self.library()))
        if status == 0:
            status, log = self.run([*self.target.runner, f"./{name}", *arguments], patience=600)
        return status, log

    def programs(self):
        """C programs with guests of their own."""
        if self.library() is None:
            return
        served = self.folder / "served"
        (served / "boot").mkdir(parents=True, exist_ok=True)
        for name, arguments in (("layout", ()), ("main_paths", ()), ("services", (str(served), "sh -c 'echo ready; cat'")),
                                ("refusals", (str(served),)), ("unix_hostfwd", ()), ("forward6", ())):
            status, log = self.program(name, *arguments)
            self.results.program(self.target, name, status, log)
        if self.target.static:
            status, log = self.run([
                *self.target.compiler, *WARNINGS, "-static", f"-I{ROOT}/include", "-o", "static_main_paths",
                f"{ROOT}/compat-tests/c/main_paths.c", "libslirp.a", *self.unwinder()])
            if status == 0:
                status, log = self.run([*self.target.runner, "./static_main_paths"], patience=600)
            self.results.program(self.target, "main_paths, static", status, log)

    def release(self):
        """The sizes of what is installed."""
        status, log = self.cargo("build", "--release", "--lib", "-p", "oxislirp-capi")
        sizes = []
        for name, built, *options in self.target.installed:
            if status == 0:
                status, log = self.run([self.strip(), *options, "-o", f"stripped-{built}", str(self.built / "release" / built)])
            if status == 0:
                sizes.append(f"{name} {(self.folder / f'stripped-{built}').stat().st_size:,}")
        self.results.verdict(self.target, "release", status, log, ", ".join(sizes))

    def strip(self):
        """The program that goes with the C compiler."""
        return self.target.compiler[0].replace("musl-gcc", "gcc").removesuffix("gcc").removesuffix("cc") + "strip"

    def exchange(self, mode, *files):
        """Saves or loads a state (compat-tests/c/exchange.c); whether that went well."""
        status, log = (0, "") if (self.folder / "exchange").exists() else self.compile("exchange", str(self.library()))
        if status == 0:
            status, log = self.run([*self.target.runner, "./exchange", mode, *map(str, files)], patience=600)
        return status, log
