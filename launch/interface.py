"""Prints the network interface, and this host's address on it, that lead to a given host.

python3 launch/interface.py HOST [SECONDS TO WAIT FOR ITS NAME]
"""

import fcntl
import socket
import struct
import sys
import time

SIOCGIFADDR = 0x8915  # Linux: address of an interface


def resolve(host: str, patience: float) -> str:
    """The host's IPv4 address; a name that is not known yet is asked for again and again."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return socket.gethostbyname(host)
        except OSError as err:
            if time.monotonic() >= deadline:
                sys.exit(f"interface.py: {host} has no address ({err}): is the name right?")
            time.sleep(1)


def interface_to(address: str) -> tuple[str, str]:
    """Name and own address of the interface the kernel would send from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing, but picks the route
        except OSError as err:
            sys.exit(f"interface.py: no route to {address} ({err.strerror})")
        own = str(probe.getsockname()[0])
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == own:
                return name, own
    sys.exit(f"interface.py: no interface of this host has the address {own}")


if __name__ == "__main__":
    print(*interface_to(resolve(sys.argv[1], float((sys.argv[2:] or ["0"])[0]))))
