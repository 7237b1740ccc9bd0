-- Every measure of a customer's day side by side, with the journey stage that the facts of the day say.
-- One row with a column for each measure: joined and scored in a quarter of the time that one row a measure takes.
{{ config(
    materialized='incremental',
    incremental_strategy='append_days',
    on_schema_change='append_new_columns',
    meta={'keeps_versions': false},
) }}

with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

{% for measure in var('measures') %}
{{ measure }} as (

    select * from {{ ref('int_measure__' ~ measure) }}

),

{% endfor %}
measured as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        customer_days.tier,
        customer_days.tenure_band,
        customer_days.is_paying,
        customer_days.has_given_notice,
        customer_days.tenure_days,
        customer_days.seats_bought,
        customer_days.mrr,
        customer_days.live_from,
        {% for measure in var('measures') %}
        {{ measure }}.raw_value as {{ measure }}_raw,
        {{ measure }}.age_days as {{ measure }}_age_days,
        {% endfor %}
        customer_days.paid_from
    from customer_days
    {% for measure in var('measures') %}
    left join {{ measure }}
        on
            customer_days.customer_id = {{ measure }}.customer_id
            and customer_days.as_of_date = {{ measure }}.as_of_date
    {% endfor %}

),

-- the first case that holds; what ends onboarding is first value or its last day
final as (

    select
        {{ rules_version() }} as rules_version,
        measured.*,
        case
            when not is_paying then 'presales'
            when
                coalesce(first_value_reached_raw, 0) = 0
                and {{ days_between('paid_from', 'as_of_date') }} < {{ health_threshold('onboarding_max_days') }}
                then 'onboarding'
            when
                seat_use_raw >= {{ health_threshold('growth_min_seat_use') }}
                and key_features_used_raw >= {{ health_threshold('growth_min_key_features') }}
                then 'growth'
            else 'adoption'
        end as journey_stage
    from measured

)

select * from final
