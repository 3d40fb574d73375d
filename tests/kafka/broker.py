"""A real Apache Kafka broker for tests and benchmarks: Java 17 and the jars of tests/kafka/pom.xml, one process.

``uv run python -m tests.kafka.broker --port 9092`` runs one in the foreground until Ctrl-C, for trying things out.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["Broker", "jars", "why_no_java"]

VERSION = "4.3.1"
POM = Path(__file__).with_name("pom.xml")
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:copy-dependencies"
LOGGING = """\
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c %m%n
rootLogger.level=info
rootLogger.appenderRef.c.ref=C
"""
# A broker that was killed may come back once its session is over; with nine seconds that was most of its recovery.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners={protocol}://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners={protocol}://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name={protocol}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocol}:{protocol}
log.dirs={data}
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""
SECURED = """\
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 username="broker" password="{password}" user_broker="{password}" user_rejoinder="{password}";
"""


def why_no_java() -> str:
    """Give what is missing to run a broker from jars; empty when nothing is."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


def jars() -> Path:
    """Give the folder with Kafka's jars, copied from Maven Central at the first call."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "rejoinder" / f"kafka-{VERSION}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mvn", "-q", "-B", "-f", str(POM), COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
        subprocess.run(command, check=True, timeout=600)
        (folder / "complete").touch()
    return folder


def free_port() -> int:
    """Give a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certify(folder: Path) -> None:
    """Make a certificate authority (ca.pem) and a certificate of 127.0.0.1 signed by it (server.pem with its key)."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    (folder / "san").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "san")
    openssl("x509", "-req", "-in", "s.csr", "-out", "s.crt", *signed)
    (folder / "server.pem").write_text((folder / "s.key").read_text() + (folder / "s.crt").read_text())


class Broker:
    """One broker process on loopback with a data folder of its own; may be killed, paused and started again."""

    def __init__(self, folder: Path, port: int = 0, *, password: str = "") -> None:
        """Prepare; with a password it speaks TLS only and asks for that password (SASL PLAIN, user `rejoinder`)."""
        self.folder, self.port = folder, port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = folder / "server.properties"
        protocol = "SASL_SSL" if password else "PLAINTEXT"
        text = PROPERTIES.format(port=self.port, controller=free_port(), data=folder / "data", protocol=protocol)
        if password:
            certify(folder)
            text += SECURED.format(folder=folder, password=password)
        self._settings.write_text(text)
        (folder / "log4j2.properties").write_text(LOGGING)
        self._java = [
            "java",
            "-Xms384m",
            "-Xmx384m",
            "-XX:+UseSerialGC",
            f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
            "-cp",
            f"{jars()}/*",
        ]
        made = subprocess.run(
            [*self._java, "kafka.tools.StorageTool", "random-uuid"], check=True, capture_output=True, timeout=60
        )
        identity = made.stdout.decode().split()[-1]
        tool = [*self._java, "kafka.tools.StorageTool", "format", "--standalone", "--ignore-formatted"]
        subprocess.run([*tool, "-t", identity, "-c", str(self._settings)], check=True, capture_output=True, timeout=60)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, seconds: float = 60.0) -> "Broker":
        output = (self.folder / "broker.log").open("ab")
        self.process = subprocess.Popen(
            [*self._java, "kafka.Kafka", str(self._settings)], stdout=output, stderr=output, start_new_session=True
        )
        output.close()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError((self.folder / "broker.log").read_text()[-2000:])
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        raise RuntimeError("the broker did not start in time")

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(20)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.send(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rejoinder-kafka-") as folder:
        broker = Broker(Path(folder), options.port).start()
        print(f"Kafka {VERSION} at {broker.address}; Ctrl-C stops it and removes its data.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            broker.stop()


if __name__ == "__main__":
    main()
