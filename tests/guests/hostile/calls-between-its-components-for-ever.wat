;; expect: 504 plugin-deadline deadline
(component
  (component $inner
    (core module $m (func (export "f") (param i32) (result i32) (local.get 0)))
    (core instance $i (instantiate $m))
    (func (export "f") (param "x" u32) (result u32) (canon lift (core func $i "f"))))
  (component $outer
    (import "f" (func $f (param "x" u32) (result u32)))
    (core func $f (canon lower (func $f)))
    (core module $m (import "i" "f" (func $f (param i32) (result i32)))
      (func (export "run") (loop $l (drop (call $f (i32.const 1))) (br $l))))
    (core instance $i (instantiate $m (with "i" (instance (export "f" (func $f))))))
    (func (export "run") (canon lift (core func $i "run"))))
  (instance $in (instantiate $inner))
  (instance $out (instantiate $outer (with "f" (func $in "f"))))
  (export "run" (func $out "run")))
