;; expect: refused stack-overflow
(module (func $s (result i32) (i32.add (i32.const 1) (call $s))) (func $t (drop (call $s))) (start $t) (func (export "run")))
