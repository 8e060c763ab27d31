"""Writes real files of many kinds into a folder, using the usual libraries for each.

usage: samples.py FOLDER
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import py_compile
import random
import sqlite3
import sys
import tarfile
import wave
import zipfile
from pathlib import Path

from PIL import Image

TEXTS = {
    "app.js": "import { call } from './client.js';\n\nexport async function main(args) {\n  const reply = await call('classify', args);\n"
    "  for (const [label, score] of Object.entries(reply)) {\n    console.log(`${label}: ${score.toFixed(3)}`);\n  }\n}\n\n"
    "main(process.argv.slice(2)).catch((error) => {\n  console.error(error);\n  process.exit(1);\n});\n",
    "build.sh": "#!/bin/sh\nset -eu\n\ncd \"$(dirname \"$0\")\"\nfor source in src/*.c; do\n  name=$(basename \"$source\" .c)\n"
    "  echo \"compiling $name\"\n  cc -O2 -Wall -c \"$source\" -o \"build/$name.o\"\ndone\n\nif [ -n \"${PREFIX:-}\" ]; then\n"
    "  install -d \"$PREFIX/lib\"\nfi\n",
    "main.c": "#include <stdio.h>\n#include <stdlib.h>\n\nstatic int compare(const void *a, const void *b) {\n    return *(const int *)a - *(const int *)b;\n}\n\n"
    "int main(int argc, char **argv) {\n    int *numbers = calloc(argc, sizeof(int));\n    for (int i = 1; i < argc; i++)\n        numbers[i - 1] = atoi(argv[i]);\n"
    "    qsort(numbers, argc - 1, sizeof(int), compare);\n    for (int i = 0; i < argc - 1; i++)\n        printf(\"%d\\n\", numbers[i]);\n    free(numbers);\n    return 0;\n}\n",
    "lib.rs": "//! Counts words.\n\nuse std::collections::HashMap;\n\n/// How often each word is in `text`.\npub fn count(text: &str) -> HashMap<&str, usize> {\n"
    "    let mut counts = HashMap::new();\n    for word in text.split_whitespace() {\n        *counts.entry(word).or_insert(0) += 1;\n    }\n    counts\n}\n\n"
    "#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn counts() {\n        assert_eq!(count(\"a b a\")[\"a\"], 2);\n    }\n}\n",
    "stats.py": "import sys\nfrom collections import Counter\n\n\ndef words(path):\n    with open(path, encoding='utf-8') as file:\n        for line in file:\n"
    "            yield from line.split()\n\n\nif __name__ == '__main__':\n    for word, count in Counter(words(sys.argv[1])).most_common(10):\n        print(f'{count:6d} {word}')\n",
    "Main.java": "package example;\n\nimport java.util.List;\n\npublic final class Main {\n    private Main() {\n    }\n\n    public static void main(String[] args) {\n"
    "        List<String> names = List.of(args);\n        names.stream().sorted().forEach(System.out::println);\n    }\n}\n",
    "server.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc hello(w http.ResponseWriter, r *http.Request) {\n\tfmt.Fprintf(w, \"hello %s\\n\", r.URL.Path)\n}\n\n"
    "func main() {\n\thttp.HandleFunc(\"/\", hello)\n\tif err := http.ListenAndServe(\":8080\", nil); err != nil {\n\t\tpanic(err)\n\t}\n}\n",
    "page.html": "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Stations</title>\n</head>\n<body>\n<h1>Stations</h1>\n<ul>\n<li><a href=\"/north\">North</a></li>\n"
    "<li><a href=\"/south\">South</a></li>\n</ul>\n</body>\n</html>\n",
    "style.css": "body {\n  margin: 0 auto;\n  max-width: 60rem;\n  font: 16px/1.5 sans-serif;\n}\n\nnav a:hover {\n  color: #b00;\n  text-decoration: underline;\n}\n\n@media (max-width: 40em) {\n  nav {\n    display: none;\n  }\n}\n",
    "feed.xml": "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<stations>\n  <station id=\"1\">\n    <name>North</name>\n    <height unit=\"m\">214</height>\n  </station>\n  <station id=\"2\">\n    <name>South</name>\n"
    "    <height unit=\"m\">87</height>\n  </station>\n</stations>\n",
    "icon.svg": "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 24 24\" width=\"24\" height=\"24\">\n  <circle cx=\"12\" cy=\"12\" r=\"10\" fill=\"none\" stroke=\"#333\" stroke-width=\"2\"/>\n"
    "  <path d=\"M12 6v6l4 2\" fill=\"none\" stroke=\"#333\" stroke-width=\"2\"/>\n</svg>\n",
    "query.sql": "CREATE TABLE station (id INTEGER PRIMARY KEY, name TEXT NOT NULL, height REAL);\n\nINSERT INTO station (name, height) VALUES ('North', 214), ('South', 87);\n\n"
    "SELECT s.name, AVG(r.value) AS mean\nFROM station AS s\nJOIN reading AS r ON r.station = s.id\nWHERE r.at >= DATE('2026-01-01')\nGROUP BY s.name\nORDER BY mean DESC;\n",
    "notes.md": "# Release notes\n\n## 1.2.0\n\n- **New:** stations can be *moved*.\n- Fixed a crash when the list was empty, see [the report](https://example.org/7).\n\n```sh\nmake install\n```\n\n1. Stop the service.\n2. Start it again.\n",
    "setup.ini": "[server]\nport = 8080\nhost = localhost\n\n[log]\nlevel = info\nfile = /var/log/stations.log\nrotate = daily\n",
    "Dockerfile": "FROM debian:bookworm-slim\nRUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*\nCOPY server /usr/bin/server\n"
    "EXPOSE 8080\nUSER nobody\nENTRYPOINT [\"/usr/bin/server\"]\n",
    "ci.yaml": "name: test\non:\n  push:\n    branches: [main]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - name: Test\n        run: make test\n        env:\n          RUST_LOG: debug\n",
    "letter.txt": "Dear Ms Holm,\n\nthank you for the parcel, which came on Tuesday in good order. The children were very glad of the books, and my\n"
    "husband has not put down the one on bridges since. We hope to see you in the spring, when the road is open again.\n\nWith kind regards,\nA. Berg\n",
    "tiny.txt": "hello",
    "empty.bin": "",
    "blank.txt": "   \n\n\t \n",
}


def picture():
    chance = random.Random(7)
    image = Image.new("RGB", (64, 48))
    image.putdata([(x * 4 % 256, y * 5 % 256, chance.randrange(256)) for y in range(48) for x in range(64)])
    return image


def sound(path):
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(8000)
        out.writeframes(b"".join((i * 37 % 2000).to_bytes(2, "little") for i in range(4000)))


def table(path):
    with open(path, "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["station", "date", "rain", "wind"])
        rows.writerows([f"S{i % 7}", f"2026-03-{i % 28 + 1:02d}", i % 13 / 10, i % 40] for i in range(120))


def database(path):
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        db.execute("create table station (id integer primary key, name text)")
        db.executemany("insert into station (name) values (?)", [("North",), ("South",)])
    db.close()


def archive(path):
    with tarfile.open(path, "w") as out:
        for name in ("main.c", "notes.md", "app.js"):
            data = TEXTS[name].encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            out.addfile(entry, io.BytesIO(data))


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    letter = TEXTS["letter.txt"].encode() * 20
    (folder / "letter.gz").write_bytes(gzip.compress(letter, mtime=0))
    (folder / "letter.bz2").write_bytes(bz2.compress(letter))
    (folder / "letter.xz").write_bytes(lzma.compress(letter))
    (folder / "latin1.txt").write_bytes("Übermäßig größere Häuser für ältere Gäste\n".encode("latin-1") * 8)
    (folder / "random.bin").write_bytes(random.Random(3).randbytes(5000))
    (folder / "large.json").write_text(json.dumps([{"id": i, "name": f"station {i}"} for i in range(2000)]))
    with zipfile.ZipFile(folder / "sources.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("main.c", TEXTS["main.c"])
        out.writestr("notes.md", TEXTS["notes.md"])
    archive(folder / "sources.tar")
    for extension in ("png", "jpg", "gif", "bmp", "tiff", "webp", "ico", "pdf"):
        picture().save(folder / f"picture.{extension}")
    sound(folder / "tone.wav")
    table(folder / "rain.csv")
    database(folder / "stations.sqlite")
    py_compile.compile(str(folder / "stats.py"), cfile=str(folder / "stats.pyc"))
    (folder / "program").write_bytes(Path(sys.executable).resolve().read_bytes()[:200_000])


main()
