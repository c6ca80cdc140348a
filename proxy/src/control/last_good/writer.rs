//! The thread that writes: what may not be on disk is left out, what is there already is not written again.

use super::super::update::Kind;
use super::disk::{Folder, MAX_FILE};
use super::image::{Key, Record, Records};
use super::status::{Status, Written};
use crate::observe::metrics::{Cells, Registry};
use crate::observe::stats::last_good as stat;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};
use std::time::{SystemTime, UNIX_EPOCH};
use weir_proto::google::protobuf::Any;
use weir_proto::{Pool, Secrets, any};

/// What the thread knows.
struct Writer {
    folder: Folder,
    key: Key,
    status: Arc<Status>,
    cells: Cells,
    /// Does a resource with these bytes hold a secret? Bounded by what the last state had.
    judged: HashMap<u64, bool>,
    /// Hash of what is on disk.
    on_disk: Option<u64>,
}

/// What the thread is to do, in order.
pub(super) struct Order {
    /// A state to be written.
    pub(super) records: Option<Records>,
    /// Told when that is done, or has failed.
    pub(super) done: Option<Sender<()>>,
}

/// Starts the thread; it ends with the sender.
pub(super) fn start(folder: Folder, key: Key, status: Arc<Status>) -> io::Result<SyncSender<Order>> {
    // One is being written, one waits.
    let (sender, states) = sync_channel(1);
    let cells = Registry::global().cells(&stat::SCHEMA, "weir.last_good.");
    let mut writer = Writer { folder, key, status, cells, judged: HashMap::new(), on_disk: None };
    std::thread::Builder::new().name("last-good".into()).spawn(move || writer.run(&states))?;
    Ok(sender)
}

impl Writer {
    fn run(&mut self, states: &Receiver<Order>) {
        while let Ok(Order { records, done }) = states.recv() {
            if let Some(records) = records {
                self.save(records);
            }
            if let Some(done) = done {
                // Whoever asked may have given up.
                let _ = done.send(());
            }
            weir_sys::give_back_memory();
        }
    }

    fn save(&mut self, records: Records) {
        let saved = self.write(records);
        if let Err(why) = &saved {
            self.cells.inc(stat::WRITE_FAILED);
            tracing::warn!(
                "the last good state cannot be written to {}: {why}",
                self.folder.file().display()
            );
        }
        self.status.written(saved);
    }

    fn write(&mut self, records: Records) -> Result<Written, String> {
        let (records, count, left_out) = self.without_secrets(records)?;
        self.cells.gauge_set(stat::LEFT_OUT, left_out);
        let now = SystemTime::now();
        let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let hash = records.hash();
        let written = Written { at: now, resources: count, bytes: records.len(), left_out };
        if self.on_disk == Some(hash) {
            return Ok(written);
        }
        let file = records.file(&self.key, u64::try_from(millis).unwrap_or(u64::MAX));
        if file.len() > MAX_FILE {
            return Err(format!("it has {} bytes, the limit is {MAX_FILE} (MAX_FILE)", file.len()));
        }
        self.folder.write(&file).map_err(|error| error.to_string())?;
        self.on_disk = Some(hash);
        self.cells.inc(stat::WRITTEN);
        self.cells.gauge_set(stat::FILE_BYTES, u64::try_from(file.len()).unwrap_or(u64::MAX));
        Ok(written)
    }

    /// What may be on disk, how many they are, and how many may not.
    fn without_secrets(&mut self, records: Records) -> Result<(Records, u64, u64), String> {
        let (mut judged, mut secret, mut count) = (HashMap::new(), 0u64, 0u64);
        let mut pool = None;
        for record in records.iter() {
            count = count.saturating_add(1);
            let hash = record.hash();
            let holds = match self.judged.get(&hash) {
                Some(known) => *known,
                None => holds_secret(&mut pool, &record)?,
            };
            secret = secret.saturating_add(u64::from(holds));
            judged.insert(hash, holds);
        }
        self.judged = judged;
        if secret == 0 {
            return Ok((records, count, 0));
        }
        let mut rest = Records::default();
        for record in records.iter() {
            if self.judged.get(&record.hash()) == Some(&false) {
                rest.push(record);
            }
        }
        Ok((rest, count.saturating_sub(secret), secret))
    }
}

/// Is anything in it marked as sensitive? The descriptors are loaded for the first that must be looked at.
fn holds_secret(pool: &mut Option<Pool>, record: &Record<'_>) -> Result<bool, String> {
    if record.kind == Kind::Endpoints {
        return Ok(false);
    }
    if pool.is_none() {
        *pool = Some(Pool::load().map_err(|error| error.to_string())?);
    }
    let Some(pool) = pool else { return Ok(true) };
    let any = Any { type_url: any::type_url(record.kind.type_name()), value: record.body.to_vec() };
    Ok(pool.any_to_json(&any, Secrets::Redact) != pool.any_to_json(&any, Secrets::Show))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use weir_proto::envoy::config::cluster::v3::Cluster;

    /// A cluster that speaks TLS, with its own key in the message or a name of a secret.
    fn cluster(name: &str, inline: bool) -> Vec<u8> {
        let own = match inline {
            true => {
                "tls_certificates: [{certificate_chain: {inline_string: c}, private_key: {inline_string: hush}}]"
            }
            false => "tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]",
        };
        let text = format!(
            r#"{{name: {name}, transport_socket: {{name: tls, typed_config: {{
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext,
              common_tls_context: {{{own}}}}}}}}}"#
        );
        let options = weir_proto::ParseOptions::default();
        weir_proto::parse::<Cluster>(&text, &options).unwrap().message.encode_to_vec()
    }

    #[test]
    fn what_holds_a_secret_stays_off_the_disk() {
        let path = std::env::temp_dir().join(format!("weir-writer-{}", std::process::id()));
        let folder = Folder::open(&path).unwrap();
        let key = Key { node: "n".into(), bootstrap: 1 };
        let status = Arc::new(Status::new(path.clone()));
        let cells = Registry::global().cells(&stat::SCHEMA, "weir.last_good.");
        let mut writer = Writer {
            folder: folder.clone(),
            key: key.clone(),
            status,
            cells,
            judged: HashMap::new(),
            on_disk: None,
        };
        let records = || {
            let mut all = Records::default();
            for (name, body) in [("open", cluster("open", false)), ("secret", cluster("secret", true))] {
                assert!(all.push(Record { kind: Kind::Cluster, name, version: "1", body: &body }));
            }
            all
        };
        let written = writer.write(records()).unwrap();
        assert_eq!((written.resources, written.left_out), (1, 1));
        let file = folder.read().unwrap().unwrap();
        let (_, kept) = super::super::image::read(&file, &key).unwrap();
        assert_eq!(kept.iter().map(|record| record.name).collect::<Vec<_>>(), ["open"]);
        assert!(!file.windows(4).any(|part| part == b"hush"));
        // The same again is not written again.
        std::fs::remove_file(folder.file()).unwrap();
        writer.write(records()).unwrap();
        assert_eq!(folder.read(), Ok(None));
        std::fs::remove_dir_all(&path).unwrap();
    }
}
