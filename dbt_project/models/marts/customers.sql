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

valued as (

    select * from {{ ref('int_customers__valued') }}

),

overdue as (

    select
        customer_id,
        count(*) as overdue_invoices,
        min(due_date) as overdue_since
    from {{ ref('int_invoices__overdue') }}
    where due_date < {{ as_of_date() }}
    group by customer_id

),

owners as (

    select *
    from {{ sources_union(
        {'hubspot': 'stg_hubspot__owners', 'salesforce': 'stg_salesforce__users'},
        {
            'owner_id': dbt.type_string(),
            'email': dbt.type_string(),
            'first_name': dbt.type_string(),
            'last_name': dbt.type_string(),
        },
    ) }}

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
        valued.tier,
        valued.potential,
        ---------- measures
        subscribed.plan_name,
        subscribed.billing_interval,
        customers.currency as billing_currency,
        cast(coalesce(revenue.end_mrr, 0) as decimal(18, 2)) as mrr,
        '{{ var("reporting_currency") }}' as mrr_currency,
        valued.ltv,
        valued.ltv_basis,
        cast(coalesce(overdue.overdue_invoices, 0) as integer) as overdue_invoices,
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
        subscribed.renewal_date,
        cast(subscribed.term_months as integer) as term_months,
        overdue.overdue_since
    from customers
    inner join subscribed
        on customers.customer_id = subscribed.customer_id
    inner join journey
        on customers.customer_id = journey.customer_id
    inner join health
        on customers.customer_id = health.customer_id
    inner join valued
        on customers.customer_id = valued.customer_id
    left join overdue
        on customers.customer_id = overdue.customer_id
    left join customer_usage
        on customers.customer_id = customer_usage.customer_id
    left join revenue
        on
            customers.customer_id = revenue.customer_id
            and revenue.month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)
    left join owners
        on
            customers.owner_id = owners.owner_id
            and customers.crm = owners.source_name

)

select * from final
