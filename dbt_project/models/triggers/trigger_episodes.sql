-- Every episode that was ever opened, as it was first seen. Grows only: later builds give the same episode the same id.
-- A version of the rules that begins with this build opens the episodes of health silently: a changed rule is no changed
-- customer.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

{% for trigger in var('triggers') %}
{{ trigger }} as (

    select * from {{ ref('trg_' ~ trigger) }}

),

{% endfor %}
history as (

    select * from {{ ref('customer_health_history') }}

),

version_start as (

    select min(published_at) as begun_at
    from history
    where rules_version = {{ rules_version() }}

),

candidates as (

    {% for trigger in var('triggers') %}
    select
        event_id,
        '{{ trigger }}' as trigger_name,
        customer_id,
        contact_id,
        subject,
        occurred_at,
        {{ follows_health(trigger) }} as follows_health
    from {{ trigger }}
    {% if not loop.last %}
    union all
    {% endif %}
    {% endfor %}

),

final as (

    select
        candidates.event_id,
        candidates.trigger_name,
        candidates.customer_id,
        candidates.contact_id,
        candidates.subject,
        candidates.occurred_at,
        {{ rules_version() }} as rules_version,
        candidates.follows_health and coalesce(version_start.begun_at >= {{ as_of_at() }}, false) as is_silent,
        {{ as_of_at() }} as first_seen_at
    from candidates
    cross join version_start
    {% if is_incremental() %}
    left join {{ this }} as registered
        on candidates.event_id = registered.event_id
    where registered.event_id is null
    {% endif %}

)

select * from final
