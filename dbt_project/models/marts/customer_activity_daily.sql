-- What a customer did in the product on a day. Days counted anew in int_usage__daily are summed anew here, and no others.
{{ config(
    materialized='incremental',
    incremental_strategy='replace_days',
    unique_key='activity_date',
    on_schema_change='append_new_columns',
) }}

with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

{% if is_incremental() %}
summed_before as (

    select distinct
        activity_date,
        batch_id
    from {{ this }}

),

touched as (

    select usage_daily.*
    from usage_daily
    left join summed_before
        on
            usage_daily.usage_date = summed_before.activity_date
            and usage_daily.batch_id = summed_before.batch_id
    where summed_before.activity_date is null

),
{% else %}
touched as (

    select * from usage_daily

),
{% endif %}

final as (

    select
        customer_id,
        usage_date as activity_date,
        cast(count(distinct contact_id) as integer) as active_contacts,
        cast(sum(uses) as bigint) as events,
        cast(coalesce(sum(sessions), 0) as bigint) as sessions,
        cast(count(distinct case when feature <> 'app' then feature end) as integer) as features_used,
        cast(count(distinct module) as integer) as modules_used,
        cast(count(distinct case when is_key_feature then feature end) as integer) as key_features_used,
        cast(coalesce(sum(errors), 0) as bigint) as errors,
        max(last_received_at) as last_received_at,
        max(batch_id) as batch_id
    from touched
    where customer_id is not null
    group by
        customer_id,
        usage_date

)

select * from final
