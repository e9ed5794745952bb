"""Windows, where the library is a DLL that mingw links, and wine runs the programs."""

import os
import re

from one import ROOT, WARNINGS, Platform

# std asks a DLL for random numbers that this wine does not have.
RANDOM_NUMBERS = """#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE p, SIZE_T n) { return RtlGenRandom(p, (ULONG)n); }
"""
TOOLS = "x86_64-w64-mingw32-"
# Beside the page of the platforms: what was run and what it printed.
TRANSCRIPT = "wine.txt"


class Windows(Platform):
    """A platform whose programs need DLLs beside them."""

    def __init__(self, target, results, work):
        super().__init__(target, results, work)
        self.environment.update(WINEPREFIX=str(work / "wine"), WINEDEBUG="-all")
        # Cargo has the tests run in folders of their own: the DLLs are found all the same.
        self.environment["WINEPATH"] = f"Z:{self.folder}".replace("/", "\\")
        self.random = False

    def random_numbers(self):
        """The DLL that wine lacks."""
        if not self.random:
            source = self.folder / "random.c"
            source.write_text(RANDOM_NUMBERS, encoding="utf-8")
            status, log = self.run([*self.target.compiler, "-shared", "-o", "bcryptprimitives.dll", str(source), "-ladvapi32"])
            if status != 0:
                self.results.verdict(self.target, "random_numbers", status, log, "")
            self.random = True

    def tests(self, part, without, *arguments):
        self.random_numbers()
        log = super().tests(part, without, *arguments)
        words = [f"--skip {name}" for name in without]
        lines = [line for line in log.splitlines() if re.match(r" +Running |test result: |test .* FAILED", line)]
        self.results.transcribe(TRANSCRIPT, part, ["cargo", "test", "--target", self.target.name, *arguments, "--", *words], "\n".join(lines).replace(f"{self.cargo_folder.parent}/", "target/"))
        return log

    def transcribe(self, command, printed):
        """Keeps what a C program printed, without the paths of this machine, and without wine's own word on the folder it has made."""
        words = [str(word).replace(f"{ROOT}/", "").replace(f"{self.folder}/", "") for word in command]
        lines = [line for line in printed.splitlines() if not (line.startswith("wine: ") and str(self.folder.parent) in line)]
        self.results.transcribe(TRANSCRIPT, "programs", words, "\n".join(lines).replace(f"{self.folder}/", ""))

    def shown(self, *command):
        """Runs a command of this machine for the transcript alone."""
        self.transcribe(command, self.run(command)[1])

    def library(self):
        """The DLL, and its import library made of the list of functions."""
        made = self.folder / "libslirp-0.dll"
        if not made.exists():
            status, log = self.cargo("build", "-p", "slirp-under-test")
            if status == 0:
                status, log = self.run([f"{TOOLS}strip", "-o", str(made), str(self.built / "debug/slirp_under_test.dll")])
            if status == 0:
                status, log = self.run([
                    "sh", "-c", f"sh {ROOT}/pkgconfig/functions.sh {ROOT}/src/libslirp.map libslirp-0.dll >libslirp-0.def &&"
                    f" {TOOLS}dlltool -d libslirp-0.def -l libslirp.dll.a"])
            if status != 0:
                self.results.verdict(self.target, "library", status, log, "")
                return None
            self.random_numbers()
        return self.folder / "libslirp.dll.a"

    def compile(self, name, *libraries):
        source = ROOT / f"compat-tests/c/{name}.c"
        return self.run([*self.target.compiler, *WARNINGS, f"-I{ROOT}/include", "-o", f"{name}.exe", str(source), *libraries, "-lws2_32"])

    def program(self, name, *arguments):
        status, log = self.compile(name, str(self.library()))
        if status == 0:
            command = [*self.target.runner, f"./{name}.exe", *arguments]
            status, log = self.run(command, patience=600)
            self.transcribe(command, log)
        return status, log

    def programs(self):
        if self.library() is None:
            return
        self.shown(*self.target.runner, "--version")
        self.shown(self.target.compiler[0], "--version")
        # What this Winsock does by itself, which the page of the platforms names.
        self.run([*self.target.compiler, *WARNINGS, "-o", "winsock.exe", f"{ROOT}/compat-tests/platforms/winsock.c", "-lws2_32", "-liphlpapi"])
        self.shown(*self.target.runner, "./winsock.exe")
        self.shown("sh", "-c", f"{TOOLS}objdump -p libslirp-0.dll | sed -n '/DLL Name:/p; /Ordinal.Name Pointer/,/^$/p'")
        (self.folder / "served/boot").mkdir(parents=True, exist_ok=True)
        # There is no shell: a program that says the same.
        self.run([*self.target.compiler, "-o", "answer.exe", f"{ROOT}/compat-tests/c/answer.c"])
        for name, arguments in (("layout", ()), ("main_paths", ()), ("services", ("served", "answer.exe")), ("refusals", ("served",))):
            status, log = self.program(name, *arguments)
            self.results.program(self.target, name, status, log)

    def exchange(self, mode, *files):
        status, log = (0, "") if (self.folder / "exchange.exe").exists() else self.compile("exchange", str(self.library()))
        if status == 0:
            paths = [os.path.relpath(file, self.folder) for file in files]
            status, log = self.run([*self.target.runner, "./exchange.exe", mode, *paths], patience=600)
        return status, log
