;; expect: 502 plugin-failed trap
(component
  (import "wasi:cli/exit@0.2.0" (instance $cli (export "exit" (func (param "status" (result))))))
  (core func $exit (canon lower (func $cli "exit")))
  (core module $m (import "c" "exit" (func $exit (param i32)))
    (func (export "run") (call $exit (i32.const 0))))
  (core instance $i (instantiate $m (with "c" (instance (export "exit" (func $exit))))))
  (func (export "run") (canon lift (core func $i "run"))))
