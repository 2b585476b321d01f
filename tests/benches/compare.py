#!/usr/bin/env python3
"""Measures several servers in turn, round by round, and prints medians: machines differ, and one machine from hour to hour,
so only figures of one run can be set against each other.

Measured are `blank` (answers at once: the most that the load generator gets here); where they are installed, etcd with three
nodes, and PostgreSQL with two standbys of which one must have a write, as pgbench puts JSONB documents of 1 KB by number;
and Quorate with three nodes and three shards on each engine named. Needs release builds of everything:
`cargo build --release --workspace --bins`."""

import argparse
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BIN = os.path.join(ROOT, "target", "release")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--docs", type=int, default=20000, help="documents written before reads")
    parser.add_argument("--connections", default="64,256")
    parser.add_argument("--engines", default="fjall", help="of Quorate: fjall, sled, memory, by commas")
    parser.add_argument("--nodes", default="3", help="of Quorate")
    options = parser.parse_args()

    servers = {"blank": blank}
    if shutil.which("etcd"):
        servers["etcd"] = etcd
    else:
        print("skipped: etcd is not installed", file=sys.stderr)
    if postgres_bin() and os.geteuid() == 0:
        servers["pg"] = postgres
    else:
        print("skipped: PostgreSQL is not installed, or this is not root, who becomes its user", file=sys.stderr)
    for engine in options.engines.split(","):
        servers[engine] = lambda options, engine=engine: quorate(options, engine)

    seen = {}
    for number in range(options.rounds):
        for name, measure in servers.items():
            print(f"round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
            for row in measure(options):
                seen.setdefault((row["op"], row["connections"], name), []).append(row)

    print(f"{'op':<6} {'conns':>5} {'server':<7} {'per second':>11} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7} {'of etcd':>8}")
    for (op, connections, name), rows in sorted(seen.items(), key=lambda item: item[0][:2]):
        median = lambda key, rows=rows: statistics.median(row[key] for row in rows)
        base = seen.get((op, connections, "etcd"))
        ratio = f"{median('per_second') / statistics.median(row['per_second'] for row in base):.2f}" if base else "-"
        print(
            f"{op:<6} {connections:>5} {name:<7} {median('per_second'):>11.0f} {median('p50_us') / 1000:>8.2f}"
            f" {median('p99_us') / 1000:>8.2f} {sum(row['errors'] for row in rows):>7} {ratio:>8}"
        )


def bench_args(options, ops, kind="quorate"):
    return [
        "--json", "--kind", kind, "--ops", ops, "--connections", options.connections,
        "--seconds", str(options.seconds), "--docs", str(options.docs),
    ]  # fmt: skip


def rows(output):
    return json.loads(output[output.index("{"):])["rows"]


def bench(options, urls, ops, kind="quorate"):
    command = [os.path.join(BIN, "bench"), "--url", urls, *bench_args(options, ops, kind)]
    return rows(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@contextlib.contextmanager
def running(*commands, stdout=subprocess.DEVNULL):
    """The commands' processes, killed at the end."""
    processes = [
        subprocess.Popen(command, stdout=stdout, stderr=subprocess.DEVNULL, text=True) for command in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


def blank(options):
    with running([os.path.join(BIN, "blank")], stdout=subprocess.PIPE) as (process,):
        return bench(options, process.stdout.readline().strip(), "put")


def etcd(options):
    ports = free_ports(6)
    members = ",".join(f"n{i}=http://127.0.0.1:{ports[3 + i]}" for i in range(3))
    with tempfile.TemporaryDirectory() as folder:
        commands = [
            [
                "etcd", "--name", f"n{i}", "--data-dir", os.path.join(folder, f"n{i}"),
                "--listen-client-urls", f"http://127.0.0.1:{ports[i]}",
                "--advertise-client-urls", f"http://127.0.0.1:{ports[i]}",
                "--listen-peer-urls", f"http://127.0.0.1:{ports[3 + i]}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{ports[3 + i]}",
                "--initial-cluster", members,
            ]
            for i in range(3)
        ]  # fmt: skip
        with running(*commands):
            # Until it has elected somebody.
            time.sleep(3)
            return bench(options, ",".join(f"http://127.0.0.1:{port}" for port in ports[:3]), "put,get", "etcd")


def postgres_bin():
    return next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)), None)


def postgres(options):
    binaries, ports = postgres_bin(), free_ports(3)
    address = ["-h", "127.0.0.1", "-p", str(ports[0])]

    def run(program, *args):
        command = ["runuser", "-u", "postgres", "--", os.path.join(binaries, program), *args]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{program}: {done.stdout}")
        return done.stdout

    def start(name, port):
        settings = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400"
        # Its output must go to a file: who inherits ours would hold it open.
        run("pg_ctl", "start", "-w", "-D", name, "-l", f"{name}.log", "-o", settings)

    with tempfile.TemporaryDirectory() as folder:
        shutil.chown(folder, "postgres", "postgres")
        started = []
        try:
            run("initdb", "-D", "primary", "--auth=trust", "--no-sync")
            start("primary", ports[0])
            started.append("primary")
            for number in (1, 2):
                name = f"standby{number}"
                source = f"host=127.0.0.1 port={ports[0]} application_name={name}"
                run("pg_basebackup", "-d", source, "-D", name, "-R", "-c", "fast")
                start(name, ports[number])
                started.append(name)
            run("psql", *address, "-c", "CREATE TABLE docs (id bigint PRIMARY KEY, doc jsonb)")
            run("psql", *address, "-c", "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (standby1, standby2)'")
            run("psql", *address, "-c", "SELECT pg_reload_conf()")
            document = json.dumps({"text": "x" * 1000})
            with open(os.path.join(folder, "put.sql"), "w") as script:
                script.write(
                    "\\set id random(1, 1000000000)\n"
                    f"INSERT INTO docs VALUES (:id, '{document}') ON CONFLICT (id) DO UPDATE SET doc = EXCLUDED.doc;\n"
                )
            found = []
            for connections in options.connections.split(","):
                run(
                    "pgbench", *address, "-n", "-M", "prepared", "-f", "put.sql", "-c", connections, "-j", "1",
                    "-T", str(max(1, round(options.seconds))), "-l", f"--log-prefix=log{connections}", "postgres",
                )  # fmt: skip
                found.append(pgbench_row(folder, int(connections)))
            return found
        finally:
            for name in reversed(started):
                run("pg_ctl", "stop", "-D", name, "-m", "immediate")


def pgbench_row(folder, connections):
    """A row of what pgbench noted of each transaction: client, number, microseconds, script, second, microsecond."""
    lines = [line.split() for log in glob.glob(os.path.join(folder, f"log{connections}.*")) for line in open(log)]
    took = sorted(int(line[2]) for line in lines)
    ends = [int(line[4]) + int(line[5]) / 1e6 for line in lines]
    return {
        "op": "put", "connections": connections, "per_second": len(took) / (max(ends) - min(ends)),
        "p50_us": took[len(took) // 2], "p99_us": took[len(took) * 99 // 100], "errors": 0,
    }  # fmt: skip


def quorate(options, engine):
    command = [
        os.path.join(BIN, "cluster"), "--nodes", options.nodes, "--shards", "3", "--routers", "1", "--engine", engine,
        "--", os.path.join(BIN, "bench"), "--url", "{urls}", *bench_args(options, "put,get,bulk"),
    ]  # fmt: skip
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    # What each process used follows behind.
    return rows(output[: output.rindex("}") + 1])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    main()
