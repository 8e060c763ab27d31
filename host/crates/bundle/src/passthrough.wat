;; The guest of a bundle that has a model and no code. It exports `hospes:plugin/inference` and passes every tensor on as a handle.
;;
;; The layouts are those of the canonical ABI. A `list<named-tensor>` has the same layout as parameter and as result: 12 bytes
;; per element (the address and length of its name, and the tensor's handle). So lists are passed on unchanged.
(module
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "load-by-name" (func $load (param i32 i32 i32)))
  (import "wasi:nn/graph@0.2.0-rc-2024-10-28" "[method]graph.init-execution-context" (func $init (param i32 i32)))
  (import "wasi:nn/inference@0.2.0-rc-2024-10-28" "[method]graph-execution-context.compute"
    (func $compute (param i32 i32 i32 i32)))
  (import "wasi:nn/errors@0.2.0-rc-2024-10-28" "[method]error.data" (func $data (param i32 i32)))

  ;; At most 4 MiB, because the memory contains only names and messages.
  (memory (export "memory") 1 64)
  (data (i32.const 0) "model")

  ;; 12 bytes at $result: the result of each call, and finally the returned `result<list<named-tensor>, string>`.
  (global $result i32 (i32.const 16))
  ;; The first free byte. Nothing is freed, because an instance lives for one call.
  (global $free (mut i32) (i32.const 32))

  ;; Allocates $bytes with alignment $align for values from the host. A block is never extended, because the host knows the length
  ;; of a string in advance.
  (func (export "cabi_realloc") (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32) (result i32)
    (local $start i32) (local $end i64)
    (if (local.get $old_bytes) (then unreachable))
    (local.set $start (i32.and
      (i32.add (global.get $free) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i64.add (i64.extend_i32_u (local.get $start)) (i64.extend_i32_u (local.get $bytes))))
    (block $fits
      (br_if $fits (i64.le_u (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16))))
      ;; Grows by whole pages. Beyond the memory's maximum, the call ends here.
      (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.wrap_i64 (i64.add (i64.const 1) (i64.shr_u
        (i64.sub (local.get $end) (i64.shl (i64.extend_i32_u (memory.size)) (i64.const 16)))
        (i64.const 16)))))))
      unreachable)
    (global.set $free (i32.wrap_i64 (local.get $end)))
    (local.get $start))

  ;; Whether the call that has just written to $result failed. If so, replaces its error, a handle, by a message.
  (func $failed (result i32)
    (if (i32.eqz (i32.load8_u (global.get $result))) (then (return (i32.const 0))))
    (call $data (i32.load offset=4 (global.get $result)) (i32.add (global.get $result) (i32.const 4)))
    (i32.const 1))

  (func (export "hospes:plugin/inference@0.1.0#infer") (param $inputs i32) (param $count i32) (result i32)
    (call $load (i32.const 0) (i32.const 5) (global.get $result))
    (if (call $failed) (then (return (global.get $result))))
    (call $init (i32.load offset=4 (global.get $result)) (global.get $result))
    (if (call $failed) (then (return (global.get $result))))
    (call $compute
      (i32.load offset=4 (global.get $result))
      (local.get $inputs)
      (local.get $count)
      (global.get $result))
    (drop (call $failed))
    (global.get $result)))
