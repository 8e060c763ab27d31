//! `hospes admin status`: what runs on a host, in lines.

use crate::client::Client;
use crate::failure::Failure;
use crate::screen::{Answer, printable};
use hospes_config::about_bytes;
use hospes_wire::status::{Backend, Crashes, Incident, Loaded, Status};

/// Asks the host and shows its status.
///
/// # Errors
/// If the host refuses.
pub fn show(client: &Client) -> Result<Answer, Failure> {
    let (json, status): (_, Status) = client.document("/status")?;
    Ok(Answer::new(printable(&page(&status)), json))
}

fn page(status: &Status) -> String {
    let Status { models, loading, out_of_service, records_set_aside, workers, .. } = status;
    let version = format!("hospes {}", status.version);
    let state = if status.draining { "stopping: takes no more calls" } else { "running" };
    let Loaded { versions, bytes, bytes_max, loads, unloads, .. } = &status.loaded;
    let idle = models.saturating_sub(*versions);
    let out = out_of_service.len();
    let models = format!("{versions} loaded, {idle} idle, {loading} loading, {out} out of service");
    let loaded = format!(
        "{} of {}; {loads} loads, {unloads} unloads",
        about_bytes(*bytes),
        about_bytes(*bytes_max)
    );
    let backends = status.backends.iter().map(|Backend { backend, usable }| match usable {
        true => backend.clone(),
        false => format!("{backend} (not usable)"),
    });
    let mut lines = vec![
        ("version", version),
        ("host", status.party.to_string()),
        ("state", state.to_owned()),
        ("models", models),
        ("loaded", loaded),
        ("sandboxes", format!("{} free", status.sandboxes_free)),
        ("memory", format!("{} free", about_bytes(status.memory_free_bytes))),
        ("receipts", status.receipts.to_string()),
        ("actions", status.actions.to_string()),
        ("backends", backends.collect::<Vec<_>>().join(", ")),
        ("workers", workers.processes.len().to_string()),
    ];
    let queue = &status.queue;
    let late = queue.calls_late.saturating_add(queue.computations_late);
    let abandoned = queue.calls_abandoned.saturating_add(queue.computations_abandoned);
    if late > 0 || abandoned > 0 {
        lines.push(("not begun", format!("{late} too late, {abandoned} whose callers had left")));
    }
    let missing = workers.confinement_missing.iter();
    lines.extend(missing.map(|missing| ("confinement missing", missing.clone())));
    lines.extend(workers.incidents.iter().map(|incident| {
        let Incident { publisher, crashes } = incident;
        let Crashes { model, how, times, wait_ms } = crashes;
        let text = format!(
            "model {model} of {publisher} ended its worker by {how}, {times} times: its callers wait {wait_ms} ms"
        );
        ("backed off", text)
    }));
    if !out_of_service.is_empty() || !records_set_aside.is_empty() {
        let text = format!(
            "{} versions and {} records: `hospes admin out-of-service list --data DIR` says why",
            out_of_service.len(),
            records_set_aside.len()
        );
        lines.push(("out of service", text));
    }
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    let lines = lines.iter().map(|(label, value)| format!("{label:<width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_page_of_lines() {
        let party = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let document = serde_json::json!({
            "party": party, "version": "0.1.0", "models": 2, "sandboxes_free": 64,
            "loaded": {"versions": 1, "bytes": 3 << 20, "bytes_max": 1_u64 << 30, "loads": 5, "unloads": 4},
            "memory_free_bytes": 1_u64 << 30, "receipts": 7, "actions": 1, "loading": 1,
            "backends": [{"backend": "onnxruntime", "usable": false}, {"backend": "tract", "usable": true}],
            "queue": {"calls_late": 3, "computations_late": 4, "calls_abandoned": 1},
            "workers": {"processes": [11, 12], "confinement_missing": ["cgroup: none"], "incidents": []},
        });
        let status: Status = serde_json::from_value(document).expect("a status");
        let page = page(&status);
        for line in [
            "version              hospes 0.1.0",
            "not begun            7 too late, 1 whose callers had left",
            "models               1 loaded, 1 idle, 1 loading, 0 out of service",
            "loaded               3.00 MiB of 1.00 GiB; 5 loads, 4 unloads",
            "memory               1.00 GiB free",
            "backends             onnxruntime (not usable), tract",
            "workers              2",
            "confinement missing  cgroup: none",
        ] {
            assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
        }
    }
}
