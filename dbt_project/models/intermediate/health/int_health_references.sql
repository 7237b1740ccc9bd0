-- How a measure is spread over the peers: its tenths by tier and tenure, read once under a version of the rules and then
-- frozen, so that a decline of the whole base shows as one. A small group leans on all customers.
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}

with

-- a version that has its reference keeps it
measured as (

    select *
    from {{ ref('int_customer_days__measured') }}
    where
        rules_version = {{ rules_version() }}
        and {{ is_first_reading() }}

),

-- one day in seven says as much as all
first_day as (

    select
        min(as_of_date) as first_date,
        min(case when as_of_date > cast('{{ var("health_reference_until") }}' as date) then 1 else 0 end) as begins_later
    from measured

),

sampled as (

    select measured.*
    from measured
    cross join first_day
    where
        mod({{ days_between('first_day.first_date', 'measured.as_of_date') }}, 7) = 0
        and (measured.as_of_date <= cast('{{ var("health_reference_until") }}' as date) or first_day.begins_later = 1)

),

tall as (

    {% for measure in var('measures') %}
    select
        '{{ measure }}' as measure,
        customer_id,
        tier,
        tenure_band,
        {{ measure }}_raw as raw_value
    from sampled
    where {{ measure }}_raw is not null
    {% if not loop.last %}

    union all

    {% endif %}
    {% endfor %}

),

grouped as (

    select
        measure,
        tier,
        tenure_band,
        customer_id,
        raw_value
    from tall

    union all

    select
        measure,
        '' as tier,
        '' as tenure_band,
        customer_id,
        raw_value
    from tall

),

ranked as (

    select
        measure,
        tier,
        tenure_band,
        raw_value,
        row_number() over (
            partition by measure, tier, tenure_band
            order by raw_value
        ) - 1 as place,
        count(*) over (partition by measure, tier, tenure_band) - 1 as last_place
    from grouped

),

-- the value at a tenth, between the two places it falls between
tenths as (

    select
        {% for tenth in range(0, 101, 10) %}
        {% set place = 'last_place * ' ~ tenth ~ ' / 100.0' %}
        sum(case
            when place = floor({{ place }}) then raw_value * (1 - ({{ place }} - floor({{ place }})))
            when place = floor({{ place }}) + 1 then raw_value * ({{ place }} - floor({{ place }}))
        end) as p{{ tenth }},
        {% endfor %}
        measure,
        tier,
        tenure_band
    from ranked
    group by
        measure,
        tier,
        tenure_band

),

sizes as (

    select
        measure,
        tier,
        tenure_band,
        count(distinct customer_id) as customers
    from tall
    group by
        measure,
        tier,
        tenure_band

),

groups as (

    select
        tiers.tier,
        tenure_bands.tenure_band
    from {{ ref('tiers') }} as tiers
    cross join {{ ref('tenure_bands') }} as tenure_bands

),

shrinkage as (

    select {{ health_threshold('reference_shrinkage') }} as customers

),

everybody as (

    select *
    from tenths
    where tier = ''

),

final as (

    select
        {{ rules_version() }} as rules_version,
        everybody.measure,
        groups.tier,
        groups.tenure_band,
        {% for tenth in range(0, 101, 10) %}
        cast(
            (coalesce(sizes.customers, 0) * coalesce(tenths.p{{ tenth }}, 0) + shrinkage.customers * everybody.p{{ tenth }})
            / (coalesce(sizes.customers, 0) + shrinkage.customers) as decimal(18, 6)
        ) as p{{ tenth }},
        {% endfor %}
        cast(coalesce(sizes.customers, 0) as integer) as customers
    from groups
    cross join everybody
    cross join shrinkage
    left join tenths
        on
            everybody.measure = tenths.measure
            and groups.tier = tenths.tier
            and groups.tenure_band = tenths.tenure_band
    left join sizes
        on
            everybody.measure = sizes.measure
            and groups.tier = sizes.tier
            and groups.tenure_band = sizes.tenure_band

)

select * from final
