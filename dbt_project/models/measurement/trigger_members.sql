-- About whom each trigger has an episode and why, in one table: today, and on the last day built before, with which sizes
-- compare it. Of several episodes of a trigger about somebody the last counts, as it does for the decision. A day is not
-- written again once a later one stands.
{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='as_of_date',
    full_refresh=false,
    on_schema_change='append_new_columns',
    post_hook="{{ keep_two_days(this) }}",
) }}

with

{% for trigger in var('triggers') %}
{{ trigger }} as (

    select * from {{ ref('trg_' ~ trigger) }}

),

{% endfor %}
contacts as (

    select * from {{ ref('contacts') }}

),

decisions as (

    select * from {{ ref('trigger_decisions') }}

),

episodes as (

    {% for trigger in var('triggers') %}
    select
        event_id,
        reason
    from {{ trigger }}
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

),

ranked as (

    select
        decisions.*,
        episodes.reason as episode_reason,
        row_number() over (
            partition by decisions.trigger_name, coalesce(decisions.contact_id, decisions.customer_id)
            order by decisions.occurred_at desc, decisions.event_id
        ) as recency
    from episodes
    inner join decisions
        on episodes.event_id = decisions.event_id

),

members as (

    select
        trigger_name,
        case when contact_id is null then 'customer' else 'contact' end as member_kind,
        coalesce(contact_id, customer_id) as member_id,
        customer_id,
        episode_reason as reason,
        event_id,
        occurred_at,
        decision,
        reason as decision_reason
    from ranked
    where recency = 1

),

{{ members_of_the_day('trigger_name', more=['event_id', 'occurred_at', 'decision', 'decision_reason']) }}

select * from final
