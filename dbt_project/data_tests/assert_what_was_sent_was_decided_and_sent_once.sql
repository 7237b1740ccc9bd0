-- Since decisions are recorded nothing is sent without one that says `send`, and no event is taken twice. Of somebody who
-- was erased nothing is left to compare with.
{{ config(meta={"dagster": {"ref": {"name": "trigger_deliveries"}}}) }}
with

deliveries as (

    select * from {{ ref('trigger_deliveries') }}

),

playbooks as (

    select * from {{ ref('playbooks') }}

),

recorded as (

    select min(decided_at) as begun_at
    from {{ ref('trigger_decisions_history') }}

),

final as (

    select deliveries.*
    from deliveries
    cross join recorded
    left join playbooks
        on deliveries.trigger_name = playbooks.trigger_name
    where
        deliveries.times_delivered > 1
        or (
            not deliveries.is_decided
            and deliveries.first_settled_at >= recorded.begun_at
            and (deliveries.contact_id is not null or playbooks.audience = 'owner')
        )

)

select * from final
