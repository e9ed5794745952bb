{
  description = "User-mode network stack in place of libslirp";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = nixpkgs.lib.genAttrs systems;
    in
    {
      packages = each (system:
        let pkgs = nixpkgs.legacyPackages.${system}; in
        {
          default = pkgs.stdenv.mkDerivation {
            pname = "oxislirp";
            version = "0.1.0";
            src = ../..;
            cargoDeps = pkgs.rustPlatform.importCargoLock { lockFile = ../../Cargo.lock; };
            nativeBuildInputs = [
              pkgs.cargo
              pkgs.meson
              pkgs.ninja
              pkgs.rustc
              pkgs.rustPlatform.cargoSetupHook
            ];
            mesonFlags = [ "-Dcargo_args=--locked,--offline" "-Dtools=enabled" ];
            doCheck = true;
            meta = {
              description = "User-mode network stack in place of libslirp";
              license = pkgs.lib.licenses.bsd3;
              mainProgram = "oxislirp";
              platforms = systems;
            };
          };
        });

      # `nixpkgs.overlays = [ oxislirp.overlays.default ]` gives it to everything that depends on libslirp.
      overlays.default = _final: prev: { libslirp = self.packages.${prev.stdenv.hostPlatform.system}.default; };
    };
}
