"""Makes the guest: a Debian kernel and an initramfs with busybox, one network driver each, and `guestkit`."""

import glob
import hashlib
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
LIB = os.path.join(os.path.dirname(HERE), "lib")
# QEMU's name of the network card and the modules that the guest needs for it.
CARDS = {
    "virtio-net-pci": ("virtio_pci", "virtio_net"),
    "e1000": ("e1000",),
    "rtl8139": ("8139cp",),
}


# Programs of the distribution for the scenarios: the client of name server advertisements.
PROGRAMS = ("rdnssd",)


class Missing(Exception):
    """Something that the guest is made of is not installed."""


def release():
    """The newest installed kernel that has both an image and modules."""
    found = [path.split("vmlinuz-", 1)[1] for path in glob.glob("/boot/vmlinuz-*")]
    found = [one for one in found if os.path.exists(f"/lib/modules/{one}/modules.dep")]
    if not found:
        raise Missing("no kernel with modules in /boot (package linux-image-amd64)")
    return max(found, key=lambda one: os.path.getmtime(f"/boot/vmlinuz-{one}"))


def unpacked(image):
    """The ELF kernel inside a bzImage, or None. QEMU starts it directly (PVH), which spares its slow unpacking."""
    for magic, opener in (
            (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
            (b"\x1f\x8b\x08", lambda data: zlib.decompressobj(31).decompress(data)),
            (b"\x28\xb5\x2f\xfd", _zstd)):
        at = image.find(magic)
        while at >= 0:
            try:
                plain = opener(image[at:])
                if plain[:4] == b"\x7fELF":
                    return plain
            except (lzma.LZMAError, zlib.error, OSError):
                pass
            at = image.find(magic, at + 1)
    return None


def _zstd(data):
    # zstd reports the trailing bytes of the image as an error after it has written everything.
    return subprocess.run(["zstd", "-d", "-c"], input=data, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=False).stdout


def modules(kernel, wanted):
    """Paths below /lib/modules/RELEASE of modules with what they need, in the order of loading."""
    needs = {}
    with open(f"/lib/modules/{kernel}/modules.dep", encoding="ascii") as lines:
        for line in lines:
            path, rest = line.split(":", 1)
            needs[path] = rest.split()
    by_name = {os.path.basename(path).split(".ko")[0].replace("-", "_"): path for path in needs}
    order = []
    for name in wanted:
        if name not in by_name:
            raise Missing(f"kernel {kernel} has no module {name}")
        path = by_name[name]
        for one in [*reversed(needs[path]), path]:
            if one not in order:
                order.append(one)
    return order


def _module_content(path):
    with open(path, "rb") as file:
        data = file.read()
    if path.endswith(".xz"):
        return lzma.decompress(data)
    if path.endswith(".zst"):
        return _zstd(data)
    return data


def installed(name):
    """Path of a program that may stand where only root looks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(f"no {name} (package {name})")
    return os.path.realpath(found)


def libraries(program):
    """The shared libraries of a program, the one that loads them included."""
    listing = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [word for line in listing.split("\n") for word in line.split() if word.startswith("/")]


def build(cache, more=()):
    """Make what is missing in the folder `cache`; the paths of the kernel and of the initramfs, which has the programs
    `more` with their libraries in it."""
    os.makedirs(cache, exist_ok=True)
    kernel = release()
    busybox = shutil.which("busybox")
    if not busybox:
        raise Missing("no busybox (package busybox-static)")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Missing("no C compiler")
    key = hashlib.sha256(kernel.encode())
    status = os.stat(f"/boot/vmlinuz-{kernel}")
    paths = [os.path.join(cache, f"{kernel}-{status.st_mtime_ns}.kernel")]
    programs = [installed(name) for name in more]
    for path in (busybox, *programs, os.path.join(HERE, "guestkit.c"), os.path.join(HERE, "init"),
                 os.path.join(LIB, "udhcpc.sh"), __file__):
        status = os.stat(path)
        key.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    paths.append(os.path.join(cache, f"{key.hexdigest()[:16]}.cpio"))
    if all(os.path.exists(path) for path in paths):
        return paths
    for old in glob.glob(os.path.join(cache, "*.kernel")) + glob.glob(os.path.join(cache, "*.cpio")):
        if old not in paths:
            os.remove(old)
    with open(f"/boot/vmlinuz-{kernel}", "rb") as file:
        image = file.read()
    with tempfile.TemporaryDirectory(dir=cache) as root:
        top = os.path.join(root, "top")
        for folder in ("bin", "dev", "modules"):
            os.makedirs(os.path.join(top, folder))
        shutil.copy(busybox, os.path.join(top, "bin/busybox"))
        shutil.copy(os.path.join(HERE, "init"), os.path.join(top, "init"))
        shutil.copy(os.path.join(LIB, "udhcpc.sh"), os.path.join(top, "udhcpc.sh"))
        os.chmod(os.path.join(top, "init"), 0o755)
        for program in programs:
            shutil.copy(program, os.path.join(top, "bin"))
            for library in libraries(program):
                os.makedirs(top + os.path.dirname(library), exist_ok=True)
                shutil.copy(library, top + library)
        os.makedirs(os.path.join(top, "etc"))
        with open(os.path.join(top, "etc/passwd"), "w", encoding="ascii") as file:
            file.write("root:x:0:0:root:/:/bin/sh\n")
        subprocess.run([compiler, "-static", "-O2", "-Wall", "-Wextra", "-o", os.path.join(top, "bin/guestkit"),
                        os.path.join(HERE, "guestkit.c")], check=True)
        for card, wanted in CARDS.items():
            order = modules(kernel, wanted)
            names = []
            for path in order:
                names.append(os.path.basename(path).split(".ko")[0] + ".ko")
                with open(os.path.join(top, "modules", names[-1]), "wb") as file:
                    file.write(_module_content(f"/lib/modules/{kernel}/{path}"))
            with open(os.path.join(top, "modules", card + ".list"), "w", encoding="ascii") as file:
                file.write("".join(name + "\n" for name in names))
        made_kernel, made_cpio = os.path.join(root, "kernel"), os.path.join(root, "cpio")
        with open(made_kernel, "wb") as file:
            file.write(unpacked(image) or image)
        listing = subprocess.run(["find", "."], cwd=top, stdout=subprocess.PIPE, check=True).stdout
        with open(made_cpio, "wb") as file:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], cwd=top, input=listing, stdout=file,
                           check=True)
        os.rename(made_kernel, paths[0])
        os.rename(made_cpio, paths[1])
    return paths


if __name__ == "__main__":
    print(*build(sys.argv[1]))
