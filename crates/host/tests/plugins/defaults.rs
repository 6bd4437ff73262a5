//! The administrator's defaults, while the host works.

use ringfence::Config;
use ringfence_api::ErrorCode;

use crate::rig::Rig;

const CODE: &str = "import time\n\ndef nap(a):\n    time.sleep(2)\n    return 'rested'\n";

#[tokio::test]
async fn what_is_reconfigured_holds_from_the_next_start_on() {
    let rig = Rig::new().await;
    rig.active("p", "", &["nap"], CODE).await;
    let shorter = Config::parse("[plugins]\ncall_timeout = \"300ms\"\nmemory = \"200MB\"\n").unwrap();
    assert!(rig.host.reconfigure(shorter).is_empty(), "all of it is taken up");
    let limits = rig.host.show("p").await.unwrap().limits;
    assert_eq!((limits.call_timeout_ms, limits.memory_bytes), (300, Some(200_000_000)));
    // What runs keeps what it was started with.
    assert_eq!(rig.call("p", "nap").await.unwrap(), "rested");
    rig.host.deactivate("p").await.unwrap();
    rig.host.activate("p").await.unwrap();
    assert_eq!(rig.call("p", "nap").await.unwrap_err().code(), ErrorCode::Timeout);

    let fixed = Config::parse("[network]\nresolver = \"192.0.2.1:53\"\n[databases]\ncrm = \"/srv/crm.db\"\n")
        .unwrap();
    assert_eq!(rig.host.reconfigure(fixed.clone()), ["databases", "network"]);
    assert_eq!(rig.host.reconfigure(fixed), ["databases", "network"], "they still wait");
    assert_eq!(rig.host.show("p").await.unwrap().limits.call_timeout_ms, 300_000);
    rig.host.shutdown().await;
}
