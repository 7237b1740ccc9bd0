-- A contact is a person at a customer, known by one e-mail address in the product, the CRM or both.
with

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

crm_contacts as (

    select * from {{ ref('stg_hubspot__contacts') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

zendesk_users as (

    select * from {{ ref('stg_zendesk__users') }}

),

-- the login used last stands for a person with several
ranked_users as (

    select
        product_users.*,
        row_number() over (
            partition by email
            order by last_identified_at desc, user_id desc
        ) as recency
    from product_users
    where customer_id is not null

),

ranked_crm_contacts as (

    select
        crm_contacts.*,
        customers.customer_id,
        row_number() over (
            partition by crm_contacts.email
            order by crm_contacts.created_at, crm_contacts.hubspot_contact_id
        ) as seniority
    from crm_contacts
    inner join customers
        on crm_contacts.hubspot_company_id = customers.hubspot_company_id
    where crm_contacts.email is not null

),

ranked_zendesk_users as (

    select
        zendesk_user_id,
        email,
        row_number() over (
            partition by email
            order by created_at, zendesk_user_id
        ) as seniority
    from zendesk_users
    where email is not null

),

addresses as (

    select email from ranked_users

    union distinct

    select email from ranked_crm_contacts

),

final as (

    select
        {{ hashed_id(["'contact'", 'addresses.email']) }} as contact_id,
        -- the workspace a person works in says more than the company a form put them under
        coalesce(ranked_users.customer_id, ranked_crm_contacts.customer_id) as customer_id,
        ranked_users.user_id,
        ranked_crm_contacts.hubspot_contact_id,
        ranked_zendesk_users.zendesk_user_id,
        addresses.email,
        ranked_crm_contacts.first_name,
        ranked_crm_contacts.last_name,
        coalesce(
            ranked_users.full_name,
            {{ dbt.concat(['ranked_crm_contacts.first_name', "' '", 'ranked_crm_contacts.last_name']) }}
        ) as full_name,
        coalesce(ranked_users.job_title, ranked_crm_contacts.job_title) as job_title,
        ranked_users.product_role,
        ranked_crm_contacts.buying_role,
        case
            when coalesce(ranked_crm_contacts.language, lower(ranked_users.locale)) like 'ja%' then 'ja'
            else 'en'
        end as language,
        coalesce(ranked_users.time_zone, ranked_crm_contacts.time_zone) as time_zone,
        ranked_crm_contacts.country,
        coalesce(ranked_crm_contacts.has_opted_out, false) as has_opted_out,
        ranked_crm_contacts.legal_basis,
        coalesce(ranked_users.first_seen_at, ranked_crm_contacts.created_at) as created_at
    from addresses
    left join ranked_users
        on
            addresses.email = ranked_users.email
            and ranked_users.recency = 1
    left join ranked_crm_contacts
        on
            addresses.email = ranked_crm_contacts.email
            and ranked_crm_contacts.seniority = 1
    left join ranked_zendesk_users
        on
            addresses.email = ranked_zendesk_users.email
            and ranked_zendesk_users.seniority = 1

)

select * from final
