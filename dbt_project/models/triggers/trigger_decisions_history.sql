-- What was decided about every candidate and when: one row for each time that the decision changed. Grows only.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

decisions as (

    select * from {{ ref('trigger_decisions') }}

),

{% if is_incremental() %}
ranked as (

    select
        event_id,
        decision,
        is_final,
        row_number() over (
            partition by event_id
            order by decided_at desc
        ) as recency
    from {{ this }}

),

latest as (

    select *
    from ranked
    where recency = 1

),
{% endif %}

final as (

    select
        decisions.event_id,
        decisions.trigger_name,
        decisions.customer_id,
        decisions.contact_id,
        decisions.channel,
        decisions.occurred_at,
        decisions.decision,
        decisions.reason,
        decisions.decision_if_live,
        decisions.send_not_before,
        decisions.expires_at,
        decisions.decided_at,
        decisions.is_final
    from decisions
    {% if is_incremental() %}
    left join latest
        on decisions.event_id = latest.event_id
    where
        latest.event_id is null
        or (not latest.is_final and latest.decision <> decisions.decision)
    {% endif %}

)

select * from final
