# typed: strict
# frozen_string_literal: true

# The library under the names of libslirp, beside Homebrew's own: nothing is linked into the prefix.
class Oxislirp < Formula
  desc "User-mode network stack in place of libslirp"
  homepage "https://oxislirp.example.org/"
  url "https://oxislirp.example.org/oxislirp-0.1.0.tar.xz"
  # script/release writes it into SHA256SUMS.
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "BSD-3-Clause"

  keg_only "it provides the same files as libslirp"

  depends_on "meson" => :build
  depends_on "ninja" => :build
  depends_on "rust" => :build

  def install
    system "meson", "setup", "build", "-Dcargo_args=--locked", "-Dtools=enabled", *std_meson_args
    system "meson", "compile", "-C", "build", "--verbose"
    system "meson", "install", "-C", "build"
  end

  test do
    (testpath/"test.c").write <<~C
      #include <slirp/libslirp.h>
      #include <string.h>
      int main(void) { return strcmp(slirp_version_string(), "4.9.5"); }
    C
    (testpath/"test.toml").write "[policy]\npreset = \"internet-only\"\n"
    assert_match "policy: ", shell_output("#{bin}/oxislirp check test.toml")
    system ENV.cc, "test.c", "-I#{include}", "-L#{lib}", "-lslirp", "-o", "test"
    system "./test"
  end
end
