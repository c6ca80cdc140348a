//! Istio YAML that changes under load: two versions behind a gateway, keep-alive clients and open WebSockets.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::wire::h1::{Step, read};

/// Name of the host that the gateway serves.
pub const HOST: &str = "live.test";

/// A folder of YAML: a gateway on port 80, and a service of two versions on two local ports.
pub struct Mesh {
    folder: PathBuf,
}

impl Mesh {
    /// Writes the folder, all traffic to the first version.
    pub fn write(upstreams: [u16; 2]) -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("weir-mesh-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let mesh = Self { folder };
        let [first, second] = upstreams;
        fs::write(
            mesh.folder.join("app.yaml"),
            format!(
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: default}}\n\
             spec:\n  selector: {{istio: ingressgateway}}\n  servers:\n\
             \x20 - port: {{number: 80, name: http, protocol: HTTP}}\n    hosts: [\"*\"]\n---\n\
             apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: app, namespace: default}}\n\
             spec:\n  hosts: [app.test]\n  location: MESH_INTERNAL\n  resolution: STATIC\n\
             \x20 ports:\n  - {{number: 80, name: http, protocol: HTTP}}\n  endpoints:\n\
             \x20 - {{address: 127.0.0.1, ports: {{http: {first}}}, labels: {{version: v1}}}}\n\
             \x20 - {{address: 127.0.0.1, ports: {{http: {second}}}, labels: {{version: v2}}}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: app, namespace: default}}\n\
             spec:\n  host: app.test\n  subsets:\n  - {{name: v1, labels: {{version: v1}}}}\n\
             \x20 - {{name: v2, labels: {{version: v2}}}}\n"
            ),
        )?;
        mesh.weigh(100)?;
        Ok(mesh)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Gives the first version `share` per cent. The file is replaced as an editor does: written beside, renamed.
    pub fn weigh(&self, share: u32) -> anyhow::Result<()> {
        let rest = 100 - share.min(100);
        self.replace(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: app, namespace: default}}\n\
             spec:\n  hosts: [\"{HOST}\"]\n  gateways: [edge]\n  http:\n  - route:\n\
             \x20   - {{destination: {{host: app.test, subset: v1}}, weight: {share}}}\n\
             \x20   - {{destination: {{host: app.test, subset: v2}}, weight: {rest}}}\n"
        ))
    }

    /// All to the second version, whose answers are marked with a value that is a header's format.
    pub fn mark(&self, value: &str) -> anyhow::Result<()> {
        self.replace(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: app, namespace: default}}\n\
             spec:\n  hosts: [\"{HOST}\"]\n  gateways: [edge]\n  http:\n  - headers: {{response: {{set: {{x-mark: '{value}'}}}}}}\n\
             \x20   route: [{{destination: {{host: app.test, subset: v2}}}}]\n"
        ))
    }

    /// Makes the routing file one that no reader takes.
    pub fn break_file(&self) -> anyhow::Result<()> {
        self.replace("apiVersion: networking.istio.io/v1\nkind: VirtualService\nspec: [unclosed\n")
    }

    /// Cuts the routing file off, as a program does that is about to write it.
    pub fn cut(&self) -> anyhow::Result<()> {
        Ok(fs::write(self.folder.join("routes.yaml"), "")?)
    }

    /// Takes all files away, and gives what brings them back.
    pub fn take_away(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let file = entry?;
            let name = file.file_name().to_string_lossy().into_owned();
            all.push((name, fs::read_to_string(file.path())?));
            fs::remove_file(file.path())?;
        }
        Ok(all)
    }

    /// Brings files back.
    pub fn bring_back(&self, files: &[(String, String)]) -> anyhow::Result<()> {
        files.iter().try_for_each(|(name, text)| self.put(name, text))
    }

    /// Limits what the sidecars of the pods with a label `app` see to `hosts`.
    pub fn scope(&self, app: &str, hosts: &str) -> anyhow::Result<()> {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {app}, namespace: default}}\n\
             spec:\n  workloadSelector: {{labels: {{app: {app}}}}}\n  egress: [{{hosts: [\"{hosts}\"]}}]\n"
        );
        self.put("sidecar.yaml", &text)
    }

    /// Takes that back.
    pub fn unscope(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.folder.join("sidecar.yaml"))?)
    }

    fn replace(&self, text: &str) -> anyhow::Result<()> {
        self.put("routes.yaml", text)
    }

    fn put(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (new, file) = (self.folder.join(".new.tmp"), self.folder.join(name));
        fs::write(&new, text)?;
        fs::rename(&new, &file).with_context(|| file.display().to_string())
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // A folder left behind harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Starts a backend that answers with `version` and echoes what comes after an upgrade; its port.
pub fn backend(version: &'static str) -> anyhow::Result<u16> {
    backend_on("127.0.0.1", version)
}

/// The same on another loopback address.
pub fn backend_on(address: &str, version: &'static str) -> anyhow::Result<u16> {
    let (listener, port) = crate::ports::listen_on(address)?;
    serve_all(listener, version);
    Ok(port)
}

fn serve_all(listener: TcpListener, version: &'static str) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is seen by the client at the other end.
            std::thread::spawn(move || serve(stream, version).ok());
        }
    });
}

fn serve(mut stream: TcpStream, version: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 16_384];
    loop {
        while let Step::Request(request, used) = read(&bytes) {
            bytes.drain(..used);
            if !request.values("upgrade").is_empty() {
                stream.write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
                )?;
                stream.write_all(&bytes)?;
                return echo(stream);
            }
            let length = version.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nx-version: {version}\r\ncontent-length: {length}\r\n\r\n{version}"
            )?;
        }
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut chunk = [0u8; 4096];
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => stream.write_all(&chunk[..n])?,
        }
    }
}

/// An open WebSocket, as far as the proxy can tell: the upgrade is real, the frames are opaque to it.
pub struct Socket(TcpStream);

impl Socket {
    /// Upgrades a new connection.
    pub fn open(port: u16) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        let mut got = Vec::new();
        let mut byte = [0u8; 1];
        while !got.ends_with(b"\r\n\r\n") && got.len() < 8192 {
            stream.read_exact(&mut byte).context("the answer to the upgrade")?;
            got.push(byte[0]);
        }
        let line =
            String::from_utf8_lossy(got.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        anyhow::ensure!(line.contains(" 101 "), "the upgrade was answered with '{line}'");
        Ok(Self(stream))
    }

    /// Sends a message and waits for its echo.
    pub fn ping(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(text).context("write")?;
        let mut got = vec![0u8; text.len()];
        self.0.read_exact(&mut got).context("the echo")?;
        anyhow::ensure!(got == text, "the echo differs");
        Ok(())
    }
}
