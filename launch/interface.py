"""Prints the network interface, and this host's address on it, that lead to a given host.

python3 launch/interface.py HOST [SECONDS TO WAIT FOR ITS NAME [HOSTS]]

HOSTS is the number of hosts of the launch (default 1), or two such as 1:4.
"""

import fcntl
import socket
import struct
import sys
import time

SIOCGIFADDR = 0x8915  # Linux: address of an interface
FAR = "203.0.113.1"  # of no network (RFC 5737): only the default route leads there


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


def is_alone(hosts: str) -> bool:
    """Whether a launch on so many hosts has but one."""
    return hosts.split(":")[-1] == "1"


def interface_for(host: str, patience: float, *, alone: bool) -> tuple[str, str]:
    """Name and own address of the interface over which this host meets the others.

    Debian's /etc/hosts gives a host's own name as 127.0.1.1: on the main host that would lead to
    the loopback interface, which no other host reaches.
    """
    address = resolve(host, patience)
    # Given as an address, the loopback is meant: all processes are on this machine.
    if alone or host == address or not address.startswith("127."):
        return interface_to(address)
    own = socket.gethostname()
    remedy = f"give the main host's address as --main, or mend {host} in /etc/hosts"
    if host.split(".")[0] != own.split(".")[0]:
        sys.exit(f"interface.py: {host} is {address}, so {own} takes it for itself: {remedy}")
    try:
        return interface_to(FAR)
    except SystemExit:
        sys.exit(f"interface.py: {host} is {address}, which no other host reaches: {remedy}")


if __name__ == "__main__":
    given = [*sys.argv[1:], *["0", "1"][len(sys.argv) - 2 :]]
    print(*interface_for(given[0], float(given[1]), alone=is_alone(given[2])))
