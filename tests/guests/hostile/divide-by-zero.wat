;; expect: 502 plugin-failed trap
(module (func $d (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
  (func (export "run") (drop (call $d (i32.const 0)))))
