-- Everything known about a customer in one row.
with

customers as (

    select * from {{ ref('int_customers__identified') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

customer_usage as (

    select * from {{ ref('int_customers__used') }}

),

journey as (

    select * from {{ ref('customer_journey') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

revenue as (

    select * from {{ ref('int_customer_months__summed') }}

),

owners as (

    select * from {{ ref('stg_hubspot__owners') }}

),

final as (

    select
        ---------- ids
        customers.customer_id,
        customers.workspace_id,
        customers.hubspot_company_id,
        customers.zendesk_organization_id,
        ---------- attributes
        customers.customer_name,
        customers.domain,
        customers.country,
        customers.industry,
        customers.employees,
        owners.owner_id as csm_owner_id,
        owners.email as csm_owner_email,
        {{ dbt.concat(['owners.first_name', "' '", 'owners.last_name']) }} as csm_owner_name,
        ---------- where they stand
        journey.journey_stage,
        journey.stage_entered_at,
        health.health_score,
        health.health_band,
        health.coverage as health_coverage,
        journey.is_in_renewal_window,
        subscribed.has_given_notice,
        ---------- measures
        subscribed.plan_name,
        subscribed.billing_interval,
        customers.currency as billing_currency,
        cast(coalesce(revenue.end_mrr, 0) as decimal(18, 2)) as mrr,
        '{{ var("reporting_currency") }}' as mrr_currency,
        cast(subscribed.seats_bought as integer) as seats_bought,
        cast(coalesce(customer_usage.active_contacts_90d, 0) as integer) as seats_used,
        cast(coalesce(customer_usage.active_days_28d, 0) as integer) as active_days_28d,
        cast(coalesce(customer_usage.key_features_28d, 0) as integer) as key_features_28d,
        ---------- timestamps
        subscribed.first_started_at,
        subscribed.first_paid_at,
        customer_usage.first_value_at,
        customer_usage.last_active_at,
        subscribed.ended_at,
        subscribed.renewal_date
    from customers
    inner join subscribed
        on customers.customer_id = subscribed.customer_id
    inner join journey
        on customers.customer_id = journey.customer_id
    inner join health
        on customers.customer_id = health.customer_id
    left join customer_usage
        on customers.customer_id = customer_usage.customer_id
    left join revenue
        on
            customers.customer_id = revenue.customer_id
            and revenue.month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)
    left join owners
        on customers.owner_id = owners.owner_id

)

select * from final
