#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# bench.py DIRECTORY [ROUNDS [VALUES...]]: packets a second that a server takes without losing one: this program on
# tidefall's maps, the same on a mutex and std::unordered_map, and npm's statsd. DIRECTORY is where the programs were
# built. Each socket asks for a buffer of 4 MiB, npm's by a server module that does what its own does and asks; windows
# last a second; the sender is on the same machine.
#
# VALUES is how many each packet has, 1 and 30 if nothing is said. A rate is taken where every value arrives in a run of
# three seconds; rates go up by a quarter. The servers take turns in each round.
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

build = os.path.abspath(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
load = os.path.join(build, "07_statsd_load")

BACKEND = """
let sum = 0;
exports.init = (start, config, events) => {
  events.on('flush', (time, metrics) => {
    for (const name in metrics.counters) if (name.startsWith('load.')) sum += metrics.counters[name];
    console.log('sum ' + sum);
  });
  return true;
};
"""


SOCKET = """
exports.start = function(config, callback) {
  const server = require('dgram').createSocket({type: 'udp4', recvBufferSize: 4 << 20}, callback);
  server.bind(config.port, config.address);
  this.server = server;
  return true;
};
"""


class Ours:
    def __init__(self, place, name, *arguments):
        self.name = name
        self.process = subprocess.Popen(
            [os.path.join(build, "07_statsd"), "--port", "0", "--http", "0", "--receive-buffer", str(4 << 20),
             "--window", "1000", "--database", os.path.join(place, "bench.db"), *arguments],
            stdout=subprocess.PIPE, text=True)
        found = re.match(r"listening on [^:]+:(\d+); (\S+)", self.process.stdout.readline())
        self.port, self.url = int(found[1]), found[2]

    def count(self):
        text = urllib.request.urlopen(self.url + "metrics").read().decode()
        return int(re.search(r"^statsd_values_total (\d+)", text, re.M)[1])

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Npm:
    name = "npm statsd"

    def __init__(self, place):
        root = os.path.join(os.path.dirname(place), "npm")
        if not os.path.isdir(os.path.join(root, "node_modules/statsd")):
            subprocess.run(["npm", "install", "--prefix", root, "--no-audit", "--no-fund", "statsd"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(os.path.join(place, "sum.js"), "w") as to:
            to.write(BACKEND)
        with open(os.path.join(place, "udp.js"), "w") as to:
            to.write(SOCKET)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]
        with open(os.path.join(place, "config.js"), "w") as to:
            to.write('{servers: [{server: "%s/udp.js", port: %d, address: "127.0.0.1"}], mgmt_port: 0, '
                     'mgmt_address: "127.0.0.1", flushInterval: 1000, backends: ["%s/sum.js"]}'
                     % (place, self.port, place))
        self.out = open(os.path.join(place, "npm.out"), "w+")
        self.process = subprocess.Popen(["node", os.path.join(root, "node_modules/statsd/stats.js"),
                                         os.path.join(place, "config.js")], stdout=self.out, stderr=subprocess.STDOUT)
        while "sum" not in open(self.out.name).read():
            if self.process.poll() is not None:
                sys.exit(open(self.out.name).read())
            time.sleep(0.1)

    def count(self):
        time.sleep(1.2)  # a window is a second
        return int(float(re.findall(r"^sum (.+)$", open(self.out.name).read(), re.M)[-1]))

    def end(self):
        self.process.kill()
        self.process.wait()


def processor_time(server, rate, values):
    """Of the server alone, at a rate that all take: microseconds a packet."""
    def used():
        fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    before = used()
    if not takes(server, rate, values, seconds=2):
        return None
    return (used() - before) / (rate * 2) * 1e6


def takes(server, rate, values, seconds=3):
    """Whether all arrives that is sent so fast; None if the sender itself is not so fast."""
    before, packets = server.count(), int(rate * seconds)
    sent, reached = subprocess.run([load, str(server.port), str(packets), str(rate), str(values)], capture_output=True,
                                   text=True, check=True).stdout.split()
    if float(reached) < 0.97 * rate:
        return None
    last, same = -1, 0
    while same < 2:  # until no more arrives
        now = server.count() - before
        same, last = (same + 1, last) if now == last else (0, now)
        if last == int(sent) * values:
            return True
        time.sleep(0.05)
    return False


def best(server, values, first):
    """The highest rate that is taken, and whether it is the sender that goes no faster."""
    rate, taken, refusals = first, 0, 0
    while True:
        answer = takes(server, rate, values)
        if answer is None and taken > 0:
            return taken, True
        if answer is None:
            rate /= 2
        elif answer:
            taken, refusals = rate, 0
            rate *= 1.25
        else:
            refusals += 1
            if refusals == 2:  # once may be the machine's doing
                return taken, False


def main():
    place = os.path.join(tempfile.gettempdir(), "statsd-bench", "run")
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    kinds = [lambda: Ours(place, "tidefall"), lambda: Ours(place, "mutex", "--table", "mutex"), lambda: Npm(place)]
    print(f"Medians of {rounds} rounds (least to most)\n")
    print("values  server         packets a second without loss            processor time of the server, us a packet")
    for values in [int(one) for one in sys.argv[3:]] or [1, 30]:
        # From where the servers are searched, and what all of them take.
        starts, easy = ((150_000, 150_000, 50_000), 30_000) if values == 1 else ((50_000, 50_000, 10_000), 6_000)
        results, times = {}, {}
        for turn in range(rounds):
            for which in ((0, 1, 2), (1, 2, 0), (2, 0, 1))[turn % 3]:
                server = kinds[which]()
                try:
                    times.setdefault(server.name, []).append(processor_time(server, easy, values))
                    results.setdefault(server.name, []).append(best(server, values, starts[which]))
                finally:
                    server.end()
        for name in ("tidefall", "mutex", "npm statsd"):
            rates = sorted(rate for rate, _ in results[name])
            note = ", the sender's limit" if any(limit for _, limit in results[name]) else ""
            found = f"{statistics.median(rates):,.0f} ({rates[0]:,.0f} to {rates[-1]:,.0f}{note})"
            took = sorted(one for one in times[name] if one is not None) or [float("nan")]
            print(f"{values:>6}  {name:<12}  {found:<52} {statistics.median(took):.1f} ({took[0]:.1f} to "
                  f"{took[-1]:.1f})", flush=True)


main()
