;; expect: 502 plugin-failed trap
;; A component may not call into a component that it instantiates while it is itself running.
(component
  (component $inner
    (core module $m (func (export "f") (param i32) (result i32) (local.get 0)))
    (core instance $i (instantiate $m))
    (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))
  (instance $in (instantiate $inner))
  (core func $f (canon lower (func $in "f")))
  (core module $m (import "i" "f" (func $f (param i32) (result i32)))
    (func (export "run") (loop $l (drop (call $f (i32.const 1))) (br $l))))
  (core instance $i (instantiate $m (with "i" (instance (export "f" (func $f))))))
  (func (export "run") (canon lift (core func $i "run"))))
