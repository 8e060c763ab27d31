//! Setting the clock back reopens nothing: what has ended stays ended, even after a restart.

use std::time::Duration;

use hospes::clock::Clock;
use system_tests::scene::{Scene, noon};
use system_tests::{TestHost, plugin};

fn again(scene: Scene) -> Scene {
    let Scene { host, clock, acme, zoe, published } = scene;
    let host = TestHost::builder().clock(Clock::Manual(clock.clone())).data(host.stop()).start();
    Scene { host, clock, acme, zoe, published }
}

#[test]
fn the_clock_set_back_reopens_no_agreement_that_is_over() {
    for (line, status) in [
        ("dateTime lt 2026-12-01T13:00:00Z", 403),
        ("elapsedTime lteq PT1H", 429),
        ("timeInterval eq PT2H", 429),
        ("callRate lteq 1 PT2H", 429),
    ] {
        let scene = Scene::new(&plugin("echo"));
        scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[line]));
        scene.call(&scene.zoe).ok();
        scene.clock.advance(Duration::from_secs(3601));
        assert_eq!(scene.call(&scene.zoe).status, status, "{line}");
        scene.clock.set(noon());
        assert_eq!(scene.call(&scene.zoe).status, status, "{line}");
        scene.clock.set(noon() - Duration::from_secs(86_400 * 365));
        assert_eq!(scene.call(&scene.zoe).status, status, "{line}");
        // No call ran after the hour, so no receipt records that it has passed.
        let scene = again(scene);
        assert_eq!(scene.call(&scene.zoe).status, status, "{line}");
        assert!(scene.host.host().clock().now() >= noon() + Duration::from_secs(3601));
    }
}

#[test]
fn a_host_killed_knows_the_time_of_its_latest_receipt() {
    let scene = Scene::new(&plugin("echo"));
    scene.agree(&scene.acme, &scene.zoe, scene.clauses("echo-u8", &[]));
    scene.clock.advance(Duration::from_secs(3600));
    scene.call(&scene.zoe).ok();
    let Scene { host, clock, .. } = scene;
    let data = host.stop();
    // As if the time had never been saved.
    std::fs::remove_file(data.path().join("data/clock")).expect("it was saved");
    clock.set(noon());
    let host = TestHost::builder().clock(Clock::Manual(clock)).data(data).start();
    assert!(host.host().clock().now() >= noon() + Duration::from_secs(3600));
}
