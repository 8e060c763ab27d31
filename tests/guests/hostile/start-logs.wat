;; expect: refused start function
;; world: import hospes:plugin/logging@0.1.0; export run: func();
(module (import "hospes:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "_initialize") (call $log (i32.const 2) (i32.const 0) (i32.const 3)))
  (func (export "run")))
