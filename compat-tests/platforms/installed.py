"""What a C project of another machine gets: meson's cross build, installed into a folder, and programs that pkg-config tells of it."""

import re
import shlex

from one import ROOT, WARNINGS

# What cargo is told in the environment: meson would take the comma of `-Zbuild-std=std,panic_unwind` for the end of an argument.
BUILD_STD = "std,panic_unwind"
EVERYWHERE = ("lib/libslirp.a", "lib/pkgconfig/slirp.pc", "include/slirp/libslirp.h", "include/slirp/libslirp-version.h", "include/slirp/oxislirp.h")
WINDOWS = ("bin/libslirp-0.dll", "lib/libslirp.dll.a", "lib/libslirp.def")
ELSEWHERE = ("lib/libslirp.so.0.4.0", "lib/libslirp.so.0", "lib/libslirp.so")
CPU_FAMILIES = {"i686": "x86", "riscv64gc": "riscv64"}


class Installed:
    """One meson build, its folder, and what went wrong in it."""

    def __init__(self, platform):
        self.platform = platform
        self.target = platform.target
        self.windows = "windows" in self.target.name
        self.prefix = platform.folder / "installed"
        self.log = ""
        self.environment = {}
        if self.target.builds_std:
            self.environment["CARGO_UNSTABLE_BUILD_STD"] = BUILD_STD
        # How it is optimised is told by the part `release`; this would take another quarter of an hour.
        for name, value in (("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "0"), ("DEBUG", "0")):
            self.environment[f"CARGO_PROFILE_RELEASE_{name}"] = value

    def run(self, *command):
        """A step; whether it went well."""
        status, printed = self.platform.run(list(map(str, command)), more=self.environment)
        self.log += f"$ {shlex.join(map(str, command))}\n{printed}"
        return status == 0

    def cross_file(self):
        """The one that is in the project, or one with the target's tools."""
        if self.windows:
            return ROOT / "packaging/mingw.txt"
        tools = self.platform.strip().removesuffix("strip")
        family = self.target.name.partition("-")[0]
        family = CPU_FAMILIES.get(family, family)
        lines = [
            "[binaries]", f"c = {list(self.target.compiler)}", f"ar = '{tools}ar'", f"strip = '{tools}strip'",
            *([f"exe_wrapper = {list(self.target.runner)}"] if self.target.runner else []),
            "[host_machine]", "system = 'linux'", f"cpu_family = '{family}'", f"cpu = '{family}'",
            f"endian = '{'big' if self.target.big_endian else 'little'}'",
        ]
        if self.platform.unwinder():
            lines += ["[built-in options]", f"c_link_args = {self.platform.unwinder()}"]
        made = self.platform.folder / "cross.txt"
        made.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return made

    def build(self):
        """Sets up, builds and installs; whether all files are there."""
        cross = ["--cross-file", self.cross_file(), f"-Dcargo_target={self.target.name}"] if self.target.builds_std else []
        if not (self.run("meson", "setup", "build", ROOT, f"--prefix={self.prefix}", "--libdir=lib", "-Dtools=disabled", *cross)
                and self.run("meson", "compile", "-C", "build")
                and self.run("meson", "install", "-C", "build", "--no-rebuild")):
            return False
        missing = [name for name in (*EVERYWHERE, *(WINDOWS if self.windows else ELSEWHERE)) if not (self.prefix / name).is_file()]
        self.log += "".join(f"error: {name} was not installed\n" for name in missing)
        # The C compiler links the shared library: what rustc's linker can do is no matter, and was not asked.
        if "version nodes" in self.log:
            self.log += "error: a warning of version nodes, where no library was linked\n"
            return False
        return not missing and (not self.windows or self.functions_are_exported())

    def functions_are_exported(self):
        """The DLL gives the functions of the list that other linkers make an import library of, and no other."""
        wanted = re.findall(r"^    (\w+)$", (self.prefix / "lib/libslirp.def").read_text(encoding="utf-8"), re.M)
        printed = self.platform.run([self.platform.strip().removesuffix("strip") + "objdump", "-p", str(self.prefix / "bin/libslirp-0.dll")])[1]
        table = printed.partition("[Ordinal/Name Pointer] Table")[2].partition("\n\n")[0]
        exported = re.findall(r"^\s*\[ *\d+\] (\w+)$", table, re.M)
        if not wanted or sorted(wanted) != sorted(exported):
            self.log += f"error: the DLL exports {exported}, and libslirp.def has {wanted}\n"
            return False
        return True

    def told(self, *arguments):
        """What pkg-config says of the installed library, and of no other."""
        environment = {"PKG_CONFIG_LIBDIR": str(self.prefix / "lib/pkgconfig")}
        status, printed = self.platform.run(["pkg-config", *arguments, "slirp"], more=environment)
        if status != 0:
            self.log += f"error: pkg-config: {printed}\n"
        return shlex.split(printed) if status == 0 else []

    def program(self, name, *link):
        """Compiles and runs `main_paths` with what pkg-config says; the status and what it printed."""
        more = ["-lws2_32"] if self.windows else [f"-Wl,-rpath,{self.prefix}/lib"]
        # Windows looks for a DLL where the program is.
        made = self.prefix / "bin" / name
        made.parent.mkdir(exist_ok=True)
        if not self.run(*self.target.compiler, *WARNINGS, "-o", made, ROOT / "compat-tests/c/main_paths.c", *link, *more):
            return 1, self.log
        return self.platform.run([*self.target.runner, str(made)], patience=600)


def meson(platform):
    """What meson builds and installs, and a program against it."""
    installed = Installed(platform)
    if not installed.build():
        platform.results.verdict(platform.target, "meson", 1, installed.log, "")
        return
    ways = [("main_paths", (), ("--cflags", "--libs"))]
    if installed.windows:
        platform.random_numbers()
    if platform.target.static or installed.windows:
        ways.append(("main_paths, static", ("-static",), ("--static", "--cflags", "--libs")))
    for place, (name, more, asked) in enumerate(ways):
        link = (*more, *installed.told(*asked), *(platform.unwinder() if more else ()))
        status, log = installed.program(f"main_paths_{place}" + (".exe" if installed.windows else ""), *link)
        platform.results.program(platform.target, name, status, log, "meson")
