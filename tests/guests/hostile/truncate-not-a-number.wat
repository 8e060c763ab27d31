;; expect: 502 plugin-failed trap
(module (func $d (param f64) (result i32) (i32.trunc_f64_s (local.get 0)))
  (func (export "run") (drop (call $d (f64.const nan)))))
