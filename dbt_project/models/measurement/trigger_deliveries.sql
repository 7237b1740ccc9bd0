-- What became of every event that was decided to be sent, and of every one that was sent: the two row by row. What the
-- ledger has exported is known, so what today's run sends is told tomorrow.
with

history as (

    select * from {{ ref('trigger_decisions_history') }}

),

deliveries as (

    select * from {{ ref('stg_activation__deliveries') }}

),

decided as (

    select *
    from history
    where decision = 'send'

),

ranked as (

    select
        deliveries.*,
        row_number() over (
            partition by event_id
            order by settled_at desc, delivery_id desc
        ) as recency
    from deliveries

),

-- an event that a tool took once is delivered, whatever was tried after it
attempted as (

    select
        event_id,
        max(case when recency = 1 then trigger_name end) as trigger_name,
        max(case when recency = 1 then customer_id end) as customer_id,
        max(case when recency = 1 then contact_id end) as contact_id,
        max(case when recency = 1 then outcome end) as last_outcome,
        sum(case when outcome = 'delivered' then 1 else 0 end) as times_delivered,
        count(*) as attempts,
        min(settled_at) as first_settled_at,
        max(settled_at) as last_settled_at
    from ranked
    group by event_id

),

final as (

    select
        coalesce(decided.event_id, attempted.event_id) as event_id,
        coalesce(decided.trigger_name, attempted.trigger_name) as trigger_name,
        coalesce(decided.customer_id, attempted.customer_id) as customer_id,
        coalesce(decided.contact_id, attempted.contact_id) as contact_id,
        decided.event_id is not null as is_decided,
        decided.decided_at,
        decided.expires_at,
        case
            when attempted.times_delivered > 0 then 'delivered'
            when attempted.last_outcome in ('rejected', 'unknown') then attempted.last_outcome
            when decided.expires_at > {{ as_of_at() }} then 'waiting'
            else 'not sent'
        end as outcome,
        cast(coalesce(attempted.attempts, 0) as integer) as attempts,
        cast(coalesce(attempted.times_delivered, 0) as integer) as times_delivered,
        attempted.first_settled_at,
        attempted.last_settled_at
    from decided
    full outer join attempted
        on decided.event_id = attempted.event_id

)

select * from final
