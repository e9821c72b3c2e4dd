#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
#
# test.py PROGRAM DIRECTORY CASE: runs one test case of the example in a fresh directory. Exit code 77: something that
# the case works with is not installed.
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.request
import zlib

def dies_with_the_test():
    """In a child: the kernel ends it with the test, whatever ends that."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def give_up(*_):
    raise TimeoutError("the case takes too long")


program, directory, case = os.path.abspath(sys.argv[1]), os.path.join(sys.argv[2], sys.argv[3]), sys.argv[3]
here = os.path.dirname(os.path.abspath(__file__))


def fail(text):
    print("FAILED:", text)
    for name in sorted(os.listdir(".")):
        if name.endswith((".out", ".err", ".log")):
            print("==>", name, "<==")
            print(open(name, errors="replace").read()[-3000:])
    sys.exit(1)


def skip(text):
    print("SKIPPED:", text)
    sys.exit(77)


def equal(what, found, expected):
    if found != expected:
        fail(f"{what}: {found!r} instead of {expected!r}")


def until(what, holds, seconds=30):
    """Waits for another process, looking again and again."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            fail(f"not in {seconds} s: {what}")
        time.sleep(0.02)


class Server:
    """The program, ended at the end of the `with` whatever happens."""

    def __init__(self, name, *arguments):
        self.name, self.database = name, name + ".db"
        self.process = subprocess.Popen(
            [program, "--port", "0", "--http", "0", "--database", self.database, *arguments],
            stdout=open(name + ".out", "w"), stderr=open(name + ".err", "w"), preexec_fn=dies_with_the_test)
        until(name + " listens", lambda: self.text("out").startswith("listening ") or self.process.poll() is not None)
        found = re.match(r"listening on [^:]+:(\d+); (http://127\.0\.0\.1:\d+/)", self.text("out"))
        if not found:
            fail("it does not listen")
        self.port, self.url = int(found[1]), found[2]
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", self.port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.kill()
        self.process.wait()

    def text(self, end):
        return open(f"{self.name}.{end}").read()

    def send(self, text):
        self.socket.send(text if isinstance(text, bytes) else text.encode())

    def get(self, path):
        return urllib.request.urlopen(self.url + path, timeout=10).read().decode()

    def metric(self, name):
        """The sum of the samples that begin so."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.get("metrics").splitlines() if line.startswith(name))

    def has_taken(self, values):
        until(f"{values} values", lambda: self.metric("statsd_values_total ") == values)

    def end(self, with_signal=signal.SIGTERM, code=143):
        self.process.send_signal(with_signal)
        equal("exit code", self.process.wait(60), code)

    def stored(self, kind, name, stat="count", tags="", of="sum"):
        with contextlib.closing(sqlite3.connect(self.database)) as on:
            return on.execute(f"SELECT coalesce({of}(value), 0) FROM points WHERE kind = ? AND name = ? AND stat = ? "
                              "AND tags = ?", (kind, name, stat, tags)).fetchone()[0]


def check_protocol(*arguments):
    with Server("protocol", "--window", "3600000", *arguments) as server:
        server.send("a.b:1|c\na.b:2|c|@0.1\n")
        server.send("a.b:3|c\r\nx:1:2:3|c")  # several values in a line
        server.send("down:-4|c\nhalf:0.5|c")
        server.send("g:10|g\ng:+5|g\ng:-3|g\nbelow:0|g\nbelow:-2|g\nnew:+7|g")
        for value in range(1, 101):
            server.send(f"t:{value}|ms")
        server.send("t:1000|ms|@0.5\nhist:1|h\ndist:2|d")
        server.send("u:x|s\nu:y|s\nu:x|s\nu:a:b|s")
        server.send("tagged:1|c|#b:2,a:1\ntagged:1|c|#a:1,b:2|c:container\ntagged:1|c|@0.5|#a:1,b:2|T1656581400")
        malformed = ["bad", ":1|c", "a:|c", "a:1", "a:1|x", "a:one|c", "a:1|c|@0", "a:1|c|@2", "a:1e999|c", "a:1:|:2|c",
                     "_e{1,1}:a|b", "_sc|a|0", "a:nan|g"]
        server.send("\n".join(malformed) + "\n\n")
        server.send(b"n\xff:1|c\n" + "größe:1|c".encode())
        server.send("long:1|c\n" * 4000)  # the longest datagram has some more
        values = 3 + 3 + 2 + 6 + 100 + 3 + 4 + 3 + 2 + 4000
        server.has_taken(values)
        server.end()
        packets = 4 + 100 + 6
        equal("report", server.text("out").splitlines()[1:],
              [f"{packets} packets, {values:,} values, {len(malformed)} malformed lines; the kernel dropped 0 packets; "
               "0 series lost"])
        equal("a.b", server.stored("counters", "a.b"), 24)
        equal("x", server.stored("counters", "x"), 6)
        equal("down", server.stored("counters", "down"), -4)
        equal("half", server.stored("counters", "half"), 0.5)
        equal("rate", server.stored("counters", "a.b", "rate"), 24 / 3600)
        equal("g", server.stored("gauges", "g", "value"), 12)
        equal("below", server.stored("gauges", "below", "value"), -2)
        equal("new", server.stored("gauges", "new", "value"), 7)
        equal("t", [server.stored("timers", "t", stat) for stat in
                    ("count", "sum", "lower", "upper", "p50", "p90", "p99")], [102, 7050, 1, 1000, 51, 91, 100])
        equal("hist", server.stored("timers", "hist"), 1)
        equal("dist", server.stored("timers", "dist", "p95"), 2)
        equal("u", server.stored("sets", "u"), 3)
        equal("tagged", server.stored("counters", "tagged", tags="a:1,b:2"), 4)
        equal("größe", server.stored("counters", "größe"), 1)
        equal("long", server.stored("counters", "long"), 4000)


def case_protocol():
    check_protocol()
    for arguments in (["--threads", "0"], ["--window", "1"], ["--table", "tree"]):
        equal("exit code", subprocess.run([program, *arguments], stderr=subprocess.DEVNULL).returncode, 2)
    with Server("one") as server:
        for arguments in (["--port", str(server.port), "--http", "0"],
                          ["--port", "0", "--http", server.url.rsplit(":", 1)[1].rstrip("/")],
                          ["--database", "none/statsd.db"]):
            run = subprocess.run([program, *arguments], capture_output=True, text=True)
            equal("exit code", run.returncode, 1)
            if not re.match(r"07_statsd: cannot (listen on 127|use the database none)", run.stderr):
                fail(run.stderr)


def case_mutex():
    check_protocol("--table", "mutex")


def case_windows():
    """Windows add up, and a gauge remembers what an earlier one left."""
    with Server("windows", "--window", "100") as server:
        sent = 0
        while server.stored("counters", "c", of="count") < 5:
            server.send("c:1|c\nt:5|ms\nu:%d|s" % (sent % 7))
            sent += 1
            time.sleep(0.005)
        server.send("g:10|g")
        until("the gauge is stored", lambda: server.stored("gauges", "g", "value") == 10)
        server.send("g:-4|g")
        until("the gauge is 6", lambda: server.stored("gauges", "g", "value", of="min") == 6)
        server.end(signal.SIGINT, 130)
        equal("c", server.stored("counters", "c"), sent)
        equal("t", server.stored("timers", "t"), sent)
        equal("u", server.stored("sets", "u", of="max"), 7)


def metrics_of_clients(server, counters, gauge, timers):
    server.end()
    for name, value in counters.items():
        equal(name, server.stored("counters", name), value)
    equal("gauge", server.stored("gauges", gauge[0], "value"), gauge[1])
    equal("timer", [server.stored("timers", timers[0], stat) for stat in ("count", "sum")], list(timers[1:]))


def case_python_client():
    try:
        import statsd
    except ImportError:
        skip("python3-statsd is not installed: apt-get install python3-statsd")
    with Server("python", "--window", "3600000") as server:
        client = statsd.StatsClient("127.0.0.1", server.port, prefix="py")
        for i in range(1000):
            client.incr("hits")
            client.decr("stock", 2)
            if i % 100 == 99:
                server.has_taken(2 * (i + 1))  # a datagram that finds no room is lost: so is the kernel's
        with client.pipeline() as many:  # several metrics in a packet
            for i in range(500):
                many.incr("piped", 3)
                many.timing("took", i)
        client.gauge("temperature", 70)
        client.gauge("temperature", -5, delta=True)
        client.gauge("temperature", 1, delta=True)
        client.set("users", "ada")
        client.set("users", "ben")
        client.set("users", "ada")
        server.has_taken(2000 + 1000 + 3 + 3)
        metrics_of_clients(server, {"py.hits": 1000, "py.stock": -2000, "py.piped": 1500}, ("py.temperature", 66),
                           ("py.took", 500, 124750))
        equal("users", server.stored("sets", "py.users"), 2)


def node_modules(*packages):
    """A directory that has them, installed once for all cases and runs."""
    if not shutil.which("node") or not shutil.which("npm"):
        skip("node is not installed: apt-get install nodejs npm")
    place = os.path.abspath("../npm")
    os.makedirs(place, exist_ok=True)
    if all(os.path.isdir(os.path.join(place, "node_modules", one)) for one in packages):
        return place
    run = subprocess.run(["npm", "install", "--prefix", place, "--no-audit", "--no-fund", "--fetch-timeout=15000",
                          "--fetch-retries=1", *packages], capture_output=True, text=True)
    if run.returncode != 0:
        skip("npm cannot install " + " and ".join(packages) + ": " + run.stderr[-500:])
    return place


NODE_CLIENTS = """
const [port, which, url] = [Number(process.argv[1]), process.argv[2], process.argv[3]];
const StatsD = require(which);
const hot = which == 'hot-shots';
const client = hot ? new StatsD({host: '127.0.0.1', port, prefix: 'js.', maxBufferSize: 1200, bufferFlushInterval: 10,
                                 globalTags: ['env:test']})
                   : new StatsD('127.0.0.1', port, 'js.');
// What finds no room in a socket is lost, whoever sends it: so the next ones wait for those before.
async function taken(values) {
  for (;;) {
    const text = await (await fetch(url + 'metrics')).text();
    if (Number(/^statsd_values_total (\\d+)/m.exec(text)[1]) == values) return;
    await new Promise(done => setTimeout(done, 10));
  }
}
async function run() {
  for (let sent = 0; sent < 1000; await taken(3 * sent)) {
    for (let i = 0; i < 100; ++i, ++sent) {
      client.increment('hits');
      client.decrement('stock', 2);
      client.timing('took', sent % 100);
    }
  }
  client.gauge('level', 42);
  client.unique('users', 'ada'); client.unique('users', 'ben'); client.unique('users', 'ada');
  if (hot) {
    client.increment('tagged', 5, 1, {b: 2, a: 1});
    client.histogram('sizes', 7);
    client.distribution('sizes', 9);
    client.gaugeDelta('level', -2);
  }
  await taken(3000 + (hot ? 8 : 4));
  client.close();
}
run();
"""


def case_node_clients():
    place = node_modules("hot-shots", "node-statsd")
    for which, tags, extra in (("hot-shots", "env:test", 4), ("node-statsd", "", 0)):
        with Server(which, "--window", "3600000") as server:
            run = subprocess.run(["node", "-e", NODE_CLIENTS, str(server.port), which, server.url], cwd=place,
                                 timeout=50, capture_output=True, text=True)
            equal("node's exit code: " + run.stderr, run.returncode, 0)
            server.end()
            equal("hits", server.stored("counters", "js.hits", tags=tags), 1000)
            equal("stock", server.stored("counters", "js.stock", tags=tags), -2000)
            equal("took", [server.stored("timers", "js.took", stat, tags) for stat in ("count", "sum", "p50")],
                  [1000, 49500, 49])
            equal("users", server.stored("sets", "js.users", tags=tags), 2)
            equal("level", server.stored("gauges", "js.level", "value", tags), 40 if extra else 42)
            if extra:
                equal("tagged", server.stored("counters", "js.tagged", tags="a:1,b:2,env:test"), 5)
                equal("sizes", server.stored("timers", "js.sizes", "sum", tags), 16)


def case_faults():
    # Each thread's socket is read to its end before the server goes, and the window that is open is stored.
    with Server("term", "--window", "3600000", "--threads", "4") as server:
        others = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
        for i in range(400):
            others[i % 20].sendto(b"c:1|c", ("127.0.0.1", server.port))
        for one in others:
            one.close()
        server.end()
        equal("after SIGTERM", server.stored("counters", "c"), 400)
    # kill -9 takes the window that is open, and none that is stored.
    with Server("kill", "--window", "100") as server:
        server.send("c:1|c\n" * 500)
        until("it is stored", lambda: server.stored("counters", "c") == 500)
        server.end(signal.SIGKILL, -9)
        equal("after kill -9", server.stored("counters", "c"), 500)
    with Server("kill_open", "--window", "3600000") as server:
        server.send("c:1|c\n" * 300)
        server.has_taken(300)
        server.end(signal.SIGKILL, -9)
        equal("points", server.stored("counters", "c"), 0)
    # A database that another program has locked: it is tried again, and windows come together meanwhile.
    with Server("locked", "--window", "100") as server:
        other = sqlite3.connect(server.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        server.send("c:1|c\n" * 200)
        until("a retry", lambda: server.metric("tidefall_retried_batches_total") > 0)
        server.send("c:1|c\n" * 300)
        server.has_taken(500)
        other.execute("ROLLBACK")
        until("all is stored", lambda: server.stored("counters", "c") == 500)
        other.execute("BEGIN IMMEDIATE")  # to the end: then what could not be stored is told
        server.send("c:1|c\nd:1|c")
        server.has_taken(502)
        server.end(signal.SIGTERM, 1)
        other.close()
        equal("standard error", server.text("err"), "07_statsd: not all is stored: database is locked\n")
        if "; 2 series lost\n" not in server.text("out"):
            fail("another report")
    # More series than memory is given for, while the store is busy: those that are there go on, others are counted.
    with Server("many", "--window", "3600000", "--max-series", "10") as server:
        other = sqlite3.connect(server.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        server.send("".join(f"c{i}:1|c\n" for i in range(10)))  # as many as may wait: they are on their way
        until("a retry", lambda: server.metric("tidefall_retried_batches_total") > 0)
        server.send("".join(f"c{i}:1|c\n" for i in range(10, 25)))
        server.send("c10:1|c\n")
        server.has_taken(26)
        equal("refused", server.metric('tidefall_buffer_refused_values_total{buffer="counters"}'), 5)
        other.execute("ROLLBACK")
        other.close()
        server.end()
        equal("stored", [server.stored("counters", f"c{i}") for i in (0, 9, 10, 19, 20)], [1, 1, 2, 1, 0])


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def carbon(port):
    """Debian's Graphite server, with one whisper file a series under ./graphite."""
    os.makedirs("graphite/conf", exist_ok=True)
    root = os.path.abspath("graphite")
    with open("graphite/conf/carbon.conf", "w") as to:
        to.write(f"[cache]\nSTORAGE_DIR = {root}\nLOCAL_DATA_DIR = {root}/whisper\nCONF_DIR = {root}/conf\n"
                 f"LOG_DIR = {root}\nPID_DIR = {root}\nUSER =\nLINE_RECEIVER_INTERFACE = 127.0.0.1\n"
                 f"LINE_RECEIVER_PORT = {port}\nPICKLE_RECEIVER_PORT = 0\nCACHE_QUERY_INTERFACE = 127.0.0.1\n"
                 f"CACHE_QUERY_PORT = {free_port()}\nMAX_CREATES_PER_MINUTE = inf\nMAX_UPDATES_PER_SECOND = inf\n"
                 "ENABLE_TAGS = False\nENABLE_LOGROTATION = False\n")
    with open("graphite/conf/storage-schemas.conf", "w") as to:
        to.write("[all]\npattern = .*\nretentions = 1s:1h\n")
    process = subprocess.Popen(["carbon-cache", f"--config={root}/conf/carbon.conf", "--nodaemon", "start"],
                               stdout=open("carbon.out", "a"), stderr=subprocess.STDOUT, preexec_fn=dies_with_the_test)
    try:
        def listens():
            if process.poll() is not None:
                fail("carbon-cache ended")
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0
        until("carbon-cache listens", listens)
        yield process
        process.terminate()  # it writes what it has
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def case_graphite():
    try:
        import whisper
    except ImportError:
        whisper = None
    if not whisper or not shutil.which("carbon-cache"):
        skip("Graphite is not installed: apt-get install graphite-carbon")

    def stored(file):
        try:
            return [one for one in whisper.fetch(file, int(time.time()) - 600)[1] if one is not None]
        except (OSError, whisper.WhisperException):  # carbon-cache has not made it, or is making it
            return []

    def points(series):
        return stored("graphite/whisper/stats/" + series.replace(".", "/") + ".wsp")

    def all_points():
        return [points(one) for one in
                ("counters.web.hits.count", "gauges.load", "timers.took.p95", "sets.users.count")]

    def tagged():
        """Of series with tags, whose files are named by a hash: here a count and a rate, which are both 1."""
        return [sum(stored(os.path.join(at, one))) for at, _, names in os.walk("graphite/whisper/_tagged")
                for one in names]

    port = free_port()
    with Server("graphite", "--window", "1000", "--graphite", f"127.0.0.1:{port}") as server:
        # It is away at first.
        server.send("web.hits:3|c\nload:7|g\ntook:5|ms\nusers:ada|s")
        until("a retry", lambda: server.metric("tidefall_retried_batches_total") > 0)
        if "Connection refused" not in json.loads(server.get("data.json"))["error"]:
            until("the page says why", lambda: "Connection refused" in json.loads(server.get("data.json"))["error"])
        with carbon(port):
            until("all is there", lambda: all_points() == [[3], [7], [5], [1]])
            server.send("web.hits:4|c")
            until("the next one, too", lambda: sum(points("counters.web.hits.count")) == 7)
        # It goes, and comes back: the windows meanwhile have come together in one point.
        before = server.metric('tidefall_retried_batches_total{buffer="counters"')
        server.send("web.hits:5|c")
        until("a retry", lambda: server.metric('tidefall_retried_batches_total{buffer="counters"') > before)
        server.send("web.hits:6|c\nstrange name/part:1|c|#region:eu west")
        with carbon(port):
            until("all is there", lambda: sum(points("counters.web.hits.count")) == 18 and tagged() == [1, 1])
            server.end()
        equal("in SQLite", server.stored("counters", "web.hits"), 18)
        name = "stats.counters.strange_name-part.count;region=eu_west"
        if f":: [creates] new metric {name} " not in open("carbon.out").read():
            fail("no tagged series")


def case_prometheus():
    with Server("prometheus", "--window", "100") as server:
        server.send("hits:2|c|#path:/a\"b\\,9lives:1,name:x,__x:1,flag\ntook:5|ms\nlevel:1|g\nusers:a|s\n")
        server.send(b"n\xff:1|c")
        until("it is stored", lambda: server.metric("statsd_total") == 3 and server.metric("statsd_set_size") == 1)
        text = server.get("metrics")
        line = r'statsd_total{name="hits",_lives="1",_x="1",flag="",name_="x",path="/a\"b\\"} 2'
        if line not in text.splitlines():
            fail("no " + line + " in " + "\n".join(text.splitlines()[:3]))
        if shutil.which("promtool"):
            run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
            faults = [one for one in run.stderr.splitlines() if "no help text" not in one]
            equal("promtool's complaints", faults, [])
        else:
            print("promtool is not installed: apt-get install prometheus")
        server.end()


def average_colour(name):
    """Of the first row of a screenshot, which is all background."""
    data = open(name, "rb").read()
    width, _, depth, colours = struct.unpack(">IIBB", data[16:26])
    equal("depth and kind of colours", (depth, colours in (2, 6)), (8, True))
    packed, at = b"", 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += size + 12
    row = zlib.decompress(packed)[1:1 + width * (3 if colours == 2 else 4)]
    # The filter of a first row of one colour leaves that in its first pixel.
    return sum(row[:3]) / 3


def case_page():
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        skip("Chromium is not installed: apt-get install chromium")
    with Server("page", "--window", "100") as server:
        for i in range(5):
            server.send(f"web.hits:{i + 1}|c|#path:/\nload:{i}|g\ntook:{10 + i}|ms\nusers:{i}|s\n<b>bold</b>:1|c")
            time.sleep(0.12)
        until("all is stored", lambda: server.stored("counters", "web.hits", tags="path:/") == 15)

        def look(*arguments):
            run = subprocess.run(
                [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                 "--user-data-dir=" + os.path.abspath("profile"), "--virtual-time-budget=4000",
                 "--window-size=1000,1600",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr", *arguments,
                 server.url], capture_output=True, text=True, timeout=50)
            equal("Chromium's exit code", run.returncode, 0)
            equal("errors on the page", [line for line in run.stderr.splitlines() if "CONSOLE" in line], [])
            return run.stdout

        text = look("--dump-dom")
        open("page.log", "w").write(text)
        for series in ("counters web.hits", "gauges load", "timers took", "sets users"):
            card = re.search(f'<section class="card" data-series="{series}">(.*?)</section>', text)
            if not card or not re.search(r'<path class="first" d="M[0-9. LH]+', card[1]):
                fail("no chart of " + series)
        for buffer in ("counters", "gauges", "timers", "sets"):
            card = re.search(f'data-buffer="{buffer}">(.*?)</section>', text)
            if not card or card[1].count("<svg") != 2 or "in flight" not in card[1] or "retries" not in card[1]:
                fail("no charts of the buffer " + buffer)
        if "<h3>&lt;b&gt;bold&lt;/b&gt;</h3>" not in text:
            fail("a name became a part of the page")
        if "waiting" not in text or "path:/" not in text or "25 values in 5 packets" not in text:
            fail("numbers are missing")
        if re.search(r'(src|href)="https?:', text):
            fail("the page loads something from elsewhere")
        # Light and dark, as the system has it.
        shades = []
        for name, scheme in (("light", 1), ("dark", 0)):
            look(f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={os.path.abspath(name)}.png")
            shades.append(average_colour(name + ".png"))
        if not (shades[0] > 200 and shades[1] < 60):
            fail(f"light and dark are {shades}")
        server.end()


shutil.rmtree(directory, ignore_errors=True)
os.makedirs(directory)
os.chdir(directory)
for one in (signal.SIGALRM, signal.SIGTERM):
    signal.signal(one, give_up)
signal.alarm(110)
globals()["case_" + case]()
