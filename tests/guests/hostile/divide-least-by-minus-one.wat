;; expect: 502 plugin-failed trap
(module (func $d (param i64) (result i64) (i64.div_s (i64.const -9223372036854775808) (local.get 0)))
  (func (export "run") (drop (call $d (i64.const -1)))))
