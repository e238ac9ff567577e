//! Certificates and reloads as Prometheus reads them. They are the process's, so each life of a node shows them anew.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Tls;

#[derive(Debug)]
pub(super) struct Figures(pub(super) Tls);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let tls = &*self.0.0;
        let mut family = encoder.encode_descriptor(
            "tls_certificate_expires_seconds",
            "When a certificate in use expires, in seconds since the Unix epoch",
            None,
            MetricType::Gauge,
        )?;
        for certificate in tls.identities.all() {
            let name = certificate.names.first().map_or("", String::as_str);
            let file = certificate.file.display().to_string();
            let labels = [("name", name), ("file", file.as_str())];
            ConstGauge::new(certificate.expires).encode(family.encode_family(&labels)?)?;
        }
        let mut family = encoder.encode_descriptor(
            "tls_reloads",
            "Times that the files of certificates were read again, by what came of it",
            None,
            MetricType::Counter,
        )?;
        let reloads = [
            ("changed", &tls.reloads.changed),
            ("unchanged", &tls.reloads.unchanged),
            ("failed", &tls.reloads.failed),
        ];
        for (result, count) in reloads {
            let labels = [("result", result)];
            ConstCounter::new(count.load(Relaxed)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
