/* cmd_doctor.c - DOCTOR: do the store's counters and indexes agree? */
#include "protocol/commands.h"
#include "protocol/room.h"

enum mq_code cmd_doctor(struct call *call, struct mq_err *err)
{
    struct op_doctor *op = CALL_OP(call, struct op_doctor);
    (void)err;
    store_op_init(&op->op, STORE_DOCTOR, call->now);
    call->op = &op->op;
    return MQ_OK;
}

void answer_doctor(struct call *call, struct reply *reply)
{
    const struct op_doctor *op = CALL_OP(call, struct op_doctor);
    reply_array(reply, op->count);
    for (unsigned i = 0; i < op->count; i++) {
        const struct doctor_check *check = &op->checks[i];
        reply_map(reply, 4);
        reply_bulk(reply, SLICE("index"));
        reply_text(reply, check->index);
        reply_bulk(reply, SLICE("counted"));
        reply_int(reply, (int64_t)check->counted);
        reply_bulk(reply, SLICE("there"));
        reply_int(reply, (int64_t)check->there);
        reply_bulk(reply, SLICE("agrees"));
        reply_bool(reply, check->agrees);
    }
}
