//! Paged lists: each response is bounded, and following the links yields every entry once, in
//! order.

use hospes::tensor::DataType;
use serde_json::Value;
use system_tests::{Party, Reply, TestHost, identity, model_bundle, plugin};

struct Scene {
    host: TestHost,
    acme: Party,
}

impl Scene {
    fn new() -> Self {
        let host = TestHost::start();
        let acme = host.party("acme");
        for name in ["three", "one", "two"] {
            host.publish(&acme, &model_bundle(name, identity(DataType::F32, 1), None));
        }
        Self { host, acme }
    }

    fn ask(&self, path: &str) -> Reply {
        let request = match path.starts_with("/v2/repository") {
            true => self.host.post(path).json("{}"),
            false => self.host.get(path),
        };
        request.bearer(&self.acme.api_key).send().ok()
    }

    /// All pages of a list, starting with this one.
    fn follow(&self, path: &str) -> Vec<Value> {
        let mut pages = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let page = self.ask(&path);
            next = page.header("link").map(|link| {
                let (path, kind) = link[1..].split_once('>').expect("a link");
                assert_eq!(kind, "; rel=\"next\"");
                path.to_owned()
            });
            pages.push(page.json());
            assert!(pages.len() < 10, "the list has no end");
        }
        pages
    }
}

fn names(page: &Value, member: &str, name: &str) -> Vec<String> {
    let entries = if member.is_empty() { page } else { &page[member] };
    let entries = entries.as_array().expect("a list").iter();
    let name = |entry: &Value| if name.is_empty() { entry.clone() } else { entry[name].clone() };
    entries.map(|entry| name(entry).as_str().expect("text").to_owned()).collect()
}

#[test]
fn lists_of_models_have_an_end_and_say_where_they_go_on() {
    let scene = Scene::new();
    let lists = [
        ("/v2/models", "models", ""),
        ("/v2/models/stats", "model_stats", "name"),
        ("/v2/repository/index", "", "name"),
    ];
    for (path, member, name) in lists {
        let whole = scene.ask(path);
        assert_eq!(whole.header("link"), None, "{path} fits on one page");
        assert_eq!(names(&whole.json(), member, name), ["acme/one", "acme/three", "acme/two"]);
        let pages = scene.follow(&format!("{path}?limit=2&order=asc"));
        let seen: Vec<_> = pages.iter().map(|page| names(page, member, name)).collect();
        assert_eq!(seen, [vec!["acme/one", "acme/three"], vec!["acme/two"]], "{path}");
    }
    let wrong = scene.host.get("/v2/models?limit=0").bearer(&scene.acme.api_key).send();
    assert_eq!(wrong.status, 400);
    assert!(wrong.text().contains("`limit` is a number from 1 to 1000"), "{}", wrong.text());
}

#[test]
fn what_was_taken_out_of_service_is_in_its_place_of_the_index() {
    let scene = Scene::new();
    let unload = scene.host.post("/v2/repository/models/acme%2Fthree/unload");
    unload.bearer(&scene.acme.api_key).json("{}").send().ok();
    for limit in 1..=4 {
        let pages = scene.follow(&format!("/v2/repository/index?limit={limit}"));
        let seen: Vec<_> = pages
            .iter()
            .flat_map(|page| page.as_array().expect("a list"))
            .map(|entry| format!("{} {}", entry["name"], entry["state"]).replace('"', ""))
            .collect();
        let wanted = ["acme/one READY", "acme/three UNAVAILABLE", "acme/two READY"];
        assert_eq!(seen, wanted, "{limit} per page");
    }
    assert_eq!(scene.follow("/v2/models?limit=1").len(), 2, "the third is not live");
    // Loading restores all of its versions.
    let load = scene.host.post("/v2/repository/models/acme%2Fthree/load");
    load.bearer(&scene.acme.api_key).json("{}").send().ok();
    assert_eq!(scene.follow("/v2/models?limit=1").len(), 3);
}

#[test]
fn the_list_of_openai_says_that_it_has_more() {
    let host = TestHost::start();
    let acme = host.party("acme");
    for name in ["semantic-search", "parrot"] {
        host.publish(&acme, &plugin(name));
    }
    let scene = Scene { host, acme };
    let pages = scene.follow("/v1/models?limit=1");
    let seen: Vec<_> = pages.iter().map(|page| names(page, "data", "id")).collect();
    assert_eq!(seen, [["acme/parrot"], ["acme/semantic-search"]]);
    assert_eq!([&pages[0]["has_more"], &pages[1]["has_more"]], [true, false]);
}
