"""First packets of QUIC: what a client would send (RFC 9000, RFC 9001, RFC 9369), as bytes."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ONE, TWO = 1, 0x6B3343CF
SALTS = {ONE: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"), TWO: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")}
HANDSHAKE = bytes.fromhex("e000000001000001 09")


def _expand(secret, label, length):
    info = struct.pack(">HB", length, len(label) + 6) + b"tls13 " + label + b"\0"
    return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:length]


def crypto(at, data):
    return b"\6" + struct.pack(">HH", at | 0x4000, len(data) | 0x4000) + data


def initial(frames, number=0, to=b"bypass!!", version=ONE, wire=None, pad=1100):
    """An Initial packet with these frames, to this connection ID. `wire` is another version's number for it to have."""
    frames += bytes(max(0, pad - len(frames)))
    secret = _expand(hmac.new(SALTS[version], to, hashlib.sha256).digest(), b"client in", 32)
    label = b"quicv2 " if version == TWO else b"quic "
    key, vector, header_key = (_expand(secret, label + one, size) for one, size in ((b"key", 16), (b"iv", 12), (b"hp", 16)))
    header = bytes([0xD3 if version == TWO else 0xC3]) + struct.pack(">I", version if wire is None else wire) + bytes([len(to)]) + to
    header += b"\0\0" + struct.pack(">HI", len(frames) + 20 | 0x4000, number)
    nonce = (int.from_bytes(vector, "big") ^ number).to_bytes(12, "big")
    payload = AESGCM(key).encrypt(nonce, frames, header)
    mask = Cipher(algorithms.AES(header_key), modes.ECB()).encryptor().update(payload[:16])
    hidden = bytes([header[0] ^ mask[0] & 15]) + header[1:-4] + bytes(a ^ b for a, b in zip(header[-4:], mask[1:5]))
    return hidden + payload
