;; expect: 502 plugin-failed trap
(component
  (core module $m (memory (export "memory") 1)
    (func (export "run") (result i32) (i32.const 64)) (func (export "post") (param i32) unreachable))
  (core instance $i (instantiate $m))
  (func (export "run") (result string)
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (post-return (core func $i "post")))))
