;; expect: 502 plugin-failed memory-limit
;; Grows by a page and writes to it, until growing fails.
(module (memory (export "memory") 1)
  (func (export "run") (local $at i32)
    (loop $l
      (local.set $at (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $at) (i32.const -1)) (then unreachable))
      (i32.store (i32.mul (local.get $at) (i32.const 65536)) (i32.const 1))
      (br $l))))
